"""Signals that read the characters of a text, or a column beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict
from pydantic import Field as Limited
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.pretrained import load_tokenizer, pretrained_settings
from winnow.filters.signals import Signal, require_bounds, within

_GAP = r"[\s\-\u2010\u2011]+"
_ASCII_GAP = r"[\x09-\x0d\x1c-\x20\-]+"  # the same, of what is ASCII

_Words = Annotated[list[Annotated[str, Limited(min_length=1)]], Limited(min_length=1)]


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


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Regex(Signal):
    """Counts the matches of a regular expression (Python's ``re``); keeps texts with at least one.

    Attributes:
        pattern: The expression. Matches do not overlap.
        ignore_case: Whether case makes no difference.
        at_least: The fewest matches to keep.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 2.0

    pattern: Annotated[str, Limited(min_length=1)]
    ignore_case: bool = True
    at_least: Annotated[int, Limited(gt=0)] = 1

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as fault:
            mark = f"\n    {self.pattern}\n    {' ' * (fault.pos or 0)}^"
            raise WinnowError(f"This is no regular expression: {fault.msg}.{mark}", key="pattern") from fault

    def settings(self) -> dict[str, Any]:
        """Return the expression and whether case counts."""
        return {"pattern": self.pattern, "ignore_case": self.ignore_case}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the number of matches; null for null."""
        find = re.compile(self.pattern, re.IGNORECASE if self.ignore_case else 0).finditer
        return pa.array([None if text is None else sum(1 for _ in find(text)) for text in texts], pa.float64())

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the matches stand, as places of first character and end."""
        flags = re.IGNORECASE if self.ignore_case else 0
        return [match.span() for match in re.finditer(self.pattern, text, flags)]

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep so many matches or more."""
        return pc.greater_equal(scores, float(self.at_least))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Length(Signal):
    """Measures texts; keeps those within bounds.

    Attributes:
        unit: ``characters`` (Unicode code points), ``words`` (runs without white space) or ``tokens``.
        at_least: The shortest length to keep; null for no such bound.
        at_most: The longest length to keep; null for no such bound.
        tokenizer: For ``tokens``, a tokenizer of the Hub or its folder; special tokens are not counted.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.2

    unit: Literal["characters", "words", "tokens"] = "characters"
    at_least: Annotated[int, Limited(gt=0)] | None = None
    at_most: Annotated[int, Limited(gt=0)] | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        require_bounds(self.at_least, self.at_most)
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise WinnowError("A length in tokens needs a tokenizer, and no other length does.", key="tokenizer")

    def settings(self) -> dict[str, Any]:
        """Return the unit and what counts its tokens."""
        return {"unit": self.unit, "tokenizer": self.tokenizer and pretrained_settings(self.tokenizer)}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the lengths; null for null."""
        measure = self._measure()
        return pa.array([None if text is None else measure(text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep lengths within the bounds, both included."""
        return within(scores, self.at_least, self.at_most)

    def _measure(self) -> Callable[[str], int]:
        if self.tokenizer is not None:
            tokenizer = load_tokenizer(self.tokenizer)
            return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return len if self.unit == "characters" else lambda text: len(text.split())


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NotNull(Signal):
    """Scores 1 where there is a text and 0 where there is none; it is never in doubt."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.1

    def settings(self) -> dict[str, Any]:
        """Return nothing: there is nothing to set."""
        return {}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return 1 for a text, 0 for null."""
        return pa.array([float(text is not None) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep texts."""
        return pc.greater(scores, 0.0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Field(Signal):
    """Takes a number that stands beside the text, such as a rating; keeps those within bounds.

    Attributes:
        column: A column of numbers that the source keeps (its ``columns``), or ``label``.
        at_least: The smallest number to keep; null for no such bound.
        at_most: The largest number to keep; null for no such bound.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.1

    column: Annotated[str, Limited(min_length=1)]
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        require_bounds(self.at_least, self.at_most)

    @property
    def scored_column(self) -> str:
        """The column."""
        return self.column

    def settings(self) -> dict[str, Any]:
        """Return the column."""
        return {"column": self.column}

    def score(self, texts: Sequence[float | None]) -> pa.Array:
        """Return the numbers themselves; null for null."""
        return pa.array(texts, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep numbers within the bounds, both included."""
        return within(scores, self.at_least, self.at_most)
