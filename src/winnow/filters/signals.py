"""Signals: one score for each text, and which scores to keep."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError

_Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Signal(ABC):
    """Gives every text a score and says which scores to keep.

    Scoring is apart from keeping, so that another threshold needs no second scoring.

    Attributes:
        version: Raised when the same text and settings would get another score.
        cost: A rough price, in microseconds a text.
    """

    version: ClassVar[int]
    cost: ClassVar[float]

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the scores depend on, thresholds left out."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that name the scores this signal gives."""
        return fingerprint(type(self).__name__, self.version, self.settings())

    @abstractmethod
    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return one float64 score for each text; null where the signal cannot say."""

    @abstractmethod
    def keep(self, scores: pa.Array) -> pa.Array:
        """Return one verdict for each score; null stays null."""


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

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep one mention or more."""
        return pc.greater(scores, 0.0)


@lru_cache(maxsize=128)
def _mention_pattern(words: tuple[str, ...], whole_word: bool) -> re.Pattern[str]:
    # The longest first: of two alternatives that start at one place, the regular expression takes the first.
    ordered = sorted({word.strip().casefold() if whole_word else word.casefold() for word in words}, key=len)[::-1]
    if not whole_word:
        return re.compile("|".join(map(re.escape, ordered)))
    phrases = (r"[\s\-\u2010\u2011]+".join(map(re.escape, re.split(r"[\s-]+", word))) for word in ordered)
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Length(Signal):
    """Measures texts; keeps those within bounds.

    Attributes:
        unit: ``characters`` (Unicode code points) or ``words`` (runs without white space).
        at_least: The shortest length to keep; null for no such bound.
        at_most: The longest length to keep; null for no such bound.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.2

    unit: Literal["characters", "words"] = "characters"
    at_least: Annotated[int, Field(gt=0)] | None = None
    at_most: Annotated[int, Field(gt=0)] | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise WinnowError("Without `at_least` or `at_most` a length removes nothing. Give one.", key="at_least")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise WinnowError(f"No length is at least {self.at_least} and at most {self.at_most}.", key="at_least")

    def settings(self) -> dict[str, Any]:
        """Return the unit."""
        return {"unit": self.unit}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the lengths; null for null."""
        words = self.unit == "words"
        lengths = (None if text is None else len(text.split()) if words else len(text) for text in texts)
        return pa.array(lengths, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep lengths within the bounds, both included."""
        at_least = 0 if self.at_least is None else self.at_least
        at_most = float("inf") if self.at_most is None else self.at_most
        return pc.and_kleene(pc.greater_equal(scores, float(at_least)), pc.less_equal(scores, float(at_most)))


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
