"""Mentions of listed words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal

_GAP = r"[\s\-\u2010\u2011]+"
_ASCII_GAP = r"[\x09-\x0d\x1c-\x20\-]+"  # the same, of what is ASCII

_Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mentions(Signal):
    """Counts the mentions of listed words and phrases, whatever their case; keeps texts with at least one.

    A mention is a whole word: the characters beside it are no letters, digits or underscores. Mentions do not
    overlap, and the longest phrase wins (``running shoes`` is one mention, not also one of ``shoes``). A
    hyphen or space in a listed phrase stands for any run of spaces and hyphens, so ``high-quality`` finds
    ``high quality``.

    Attributes:
        words: Words and phrases.
        whole_word: Set to false to count bare substrings, exactly as they are listed: ``fashionable`` is then
            also found in ``unfashionable``.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 2.0

    words: _Words
    whole_word: bool = True

    def __post_init__(self) -> None:
        if not all(word.strip() for word in self.words):
            raise WinnowError("A listed word is blank and would be found everywhere. Take it out.", key="words")

    def settings(self) -> dict[str, Any]:
        """Return words, in no order, and the kind of match."""
        return {"words": sorted({word.casefold() for word in self.words}), "whole_word": self.whole_word}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the number of mentions; null for null."""
        find = _mention_pattern(tuple(self.words), self.whole_word).findall
        return pa.array([None if text is None else len(find(text.casefold())) for text in texts], pa.float64())

    def score_array(self, values: pa.Array) -> pa.Array:
        """Return the number of mentions; null for null.

        ASCII texts are matched by Arrow, which is several times faster and finds the same in them.
        """
        pattern = _ascii_pattern(tuple(self.words), self.whole_word)
        if pattern is None:
            return self.score(values.to_pylist())
        counts = pc.count_substring_regex(pc.ascii_lower(values), pattern).cast(pa.float64())
        other = pc.invert(pc.fill_null(pc.string_is_ascii(values), True))
        if not pc.any(other).as_py():
            return counts
        return pc.replace_with_mask(counts, other, self.score(values.filter(other).to_pylist()))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the mentions stand, as places of first character and end; none where case changes a length."""
        folded = text.casefold()
        found = _mention_pattern(tuple(self.words), self.whole_word).finditer(folded)
        return [match.span() for match in found] if len(folded) == len(text) else []

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep one mention or more."""
        return pc.greater(scores, 0.0)


@lru_cache(maxsize=128)
def _mention_pattern(words: tuple[str, ...], whole_word: bool) -> re.Pattern[str]:
    if not whole_word:
        return re.compile(_longest_of([[re.escape(character) for character in word.casefold()] for word in words]))
    pattern = _longest_of([_phrase(word.strip().casefold()) for word in words])
    return re.compile(rf"(?<!\w){pattern}(?!\w)")


@lru_cache(maxsize=128)
def _ascii_pattern(words: tuple[str, ...], whole_word: bool) -> str | None:
    """Return a pattern for Arrow's regular expressions that finds the same in ASCII texts; None where there is none.

    These know no look-behind, and their word boundary is that of :func:`_mention_pattern` only beside a word character.
    """
    within_reach = [word for word in (word.strip().casefold() for word in words) if word.isascii()]
    if not whole_word:
        within_reach = [word for word in (word.casefold() for word in words) if word.isascii()]
        pattern = _longest_of([[re.escape(character) for character in word] for word in within_reach])
    elif all(re.fullmatch(r"\w(.*\w)?", word, re.DOTALL) for word in within_reach):
        pattern = rf"\b{_longest_of([_phrase(word, _ASCII_GAP) for word in within_reach])}\b"
    else:
        return None
    return pattern if within_reach else None


def _phrase(words: str, gap: str = _GAP) -> list[str]:
    """Return the patterns of a phrase's characters, with ``gap`` for each run of spaces and hyphens."""
    pieces = re.split(r"([\s-]+)", words)
    return [
        pattern for place, piece in enumerate(pieces) for pattern in ([gap] if place % 2 else map(re.escape, piece))
    ]


def _longest_of(phrases: list[list[str]]) -> str:
    """Return a pattern for the longest of several phrases, shared beginnings tried but once.

    >>> _longest_of([list("shoe"), list("shoes"), list("cap")])
    '(?:shoe(?:s)?|cap)'
    """
    rests: dict[str, list[list[str]]] = {}
    for phrase in phrases:
        if phrase:
            rests.setdefault(phrase[0], []).append(phrase[1:])
    branches = [first + _longest_of(rest) for first, rest in rests.items()]
    if not branches:
        return ""
    may_end = not all(phrases)
    together = "|".join(branches)
    return f"(?:{together})?" if may_end else f"(?:{together})" if len(branches) > 1 else together
