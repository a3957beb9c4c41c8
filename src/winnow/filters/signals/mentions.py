"""A signal that counts mentions of listed words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal

_GAP_PATTERN = r"[\s\-\u2010\u2011]+"
_ASCII_GAP_PATTERN = r"[\x09-\x0d\x1c-\x20\-]+"  # the ASCII subset of _GAP_PATTERN

_NonEmptyWords = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(min_length=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mentions(Signal):
    """Counts case-insensitive mentions of listed words and phrases; keeps texts with at least one mention.

    A mention is a whole word: the adjacent characters are not letters, digits or underscores. Mentions do not overlap,
    and the longest phrase takes precedence: ``running shoes`` counts once, even if ``shoes`` is also listed. A hyphen
    or space in a phrase matches any run of spaces and hyphens, so ``high-quality`` also matches ``high quality``.

    Attributes:
        words: The words and phrases to count.
        whole_word: Whether to count whole words only. If false, substrings are counted, so ``fashionable`` also matches
            ``unfashionable``. Spaces and hyphens in substrings must match exactly.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 2.0

    words: _NonEmptyWords
    whole_word: bool = True

    def __post_init__(self) -> None:
        if not all(word.strip() for word in self.words):
            raise WinnowError(
                "expected non-blank words, got a blank word, which would match every text. Remove the blank word.",
                key="words",
            )

    def settings(self) -> dict[str, Any]:
        """Return the sorted words, and whether only whole words are counted."""
        return {"words": sorted({word.casefold() for word in self.words}), "whole_word": self.whole_word}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the number of mentions; the score of a null text is null."""
        find_mentions = _compile_mention_pattern(tuple(self.words), self.whole_word).findall
        return pa.array([None if text is None else len(find_mentions(text.casefold())) for text in texts], pa.float64())

    def score_array(self, values: pa.Array) -> pa.Array:
        """Return the number of mentions; the score of a null text is null.

        For ASCII texts, Arrow counts the mentions several times faster, with the same result.
        """
        pattern = _build_ascii_pattern(tuple(self.words), self.whole_word)
        if pattern is None:
            return self.score(values.to_pylist())
        counts = pc.count_substring_regex(pc.ascii_lower(values), pattern).cast(pa.float64())
        non_ascii = pc.invert(pc.fill_null(pc.string_is_ascii(values), True))
        if not pc.any(non_ascii).as_py():
            return counts
        return pc.replace_with_mask(counts, non_ascii, self.score(values.filter(non_ascii).to_pylist()))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end index of each mention; the list is empty if case folding changes the text length."""
        folded = text.casefold()
        matches = _compile_mention_pattern(tuple(self.words), self.whole_word).finditer(folded)
        return [match.span() for match in matches] if len(folded) == len(text) else []

    @property
    def knows_used_words(self) -> bool:
        """True, because all words are listed."""
        return True

    def find_used_words(self, words: Iterable[str]) -> set[str]:
        """Return the words that contain a mention."""
        pattern = _compile_mention_pattern(tuple(self.words), self.whole_word)
        return {word for word in words if pattern.search(word.casefold())}

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep texts with at least one mention."""
        return pc.greater(scores, 0.0)


@lru_cache(maxsize=128)
def _compile_mention_pattern(words: tuple[str, ...], whole_word: bool) -> re.Pattern[str]:
    if not whole_word:
        return re.compile(
            _build_longest_match_pattern([[re.escape(character) for character in word.casefold()] for word in words])
        )
    pattern = _build_longest_match_pattern([_build_character_patterns(word.strip().casefold()) for word in words])
    return re.compile(rf"(?<!\w){pattern}(?!\w)")


@lru_cache(maxsize=128)
def _build_ascii_pattern(words: tuple[str, ...], whole_word: bool) -> str | None:
    """Return a pattern for Arrow that is equivalent to :func:`_compile_mention_pattern` for ASCII texts.

    Arrow's regular expressions do not support look-behind. Arrow's word boundary is equivalent only if each phrase
    starts and ends with a word character. Return None if no equivalent pattern exists.
    """
    ascii_words = [word for word in (word.strip().casefold() for word in words) if word.isascii()]
    if not whole_word:
        ascii_words = [word for word in (word.casefold() for word in words) if word.isascii()]
        pattern = _build_longest_match_pattern([[re.escape(character) for character in word] for word in ascii_words])
    elif all(re.fullmatch(r"\w(.*\w)?", word, re.DOTALL) for word in ascii_words):
        phrases = [_build_character_patterns(word, _ASCII_GAP_PATTERN) for word in ascii_words]
        pattern = rf"\b{_build_longest_match_pattern(phrases)}\b"
    else:
        return None
    return pattern if ascii_words else None


def _build_character_patterns(words: str, gap: str = _GAP_PATTERN) -> list[str]:
    """Return one pattern per character of a phrase, with each run of spaces and hyphens replaced by ``gap``."""
    segments = re.split(r"([\s-]+)", words)
    return [
        pattern
        for index, segment in enumerate(segments)
        for pattern in ([gap] if index % 2 else map(re.escape, segment))
    ]


def _build_longest_match_pattern(phrases: list[list[str]]) -> str:
    """Return a pattern that matches the longest of several phrases, with common prefixes merged.

    >>> _build_longest_match_pattern([list("shoe"), list("shoes"), list("cap")])
    '(?:shoe(?:s)?|cap)'
    """
    suffixes: dict[str, list[list[str]]] = {}
    for phrase in phrases:
        if phrase:
            suffixes.setdefault(phrase[0], []).append(phrase[1:])
    branches = [first + _build_longest_match_pattern(suffix) for first, suffix in suffixes.items()]
    if not branches:
        return ""
    is_suffix_optional = not all(phrases)
    alternatives = "|".join(branches)
    return (
        f"(?:{alternatives})?" if is_suffix_optional else f"(?:{alternatives})" if len(branches) > 1 else alternatives
    )
