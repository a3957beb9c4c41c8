"""Signals that read the characters of a text, or a column beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict
from pydantic import Field as Limited
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, require_bounds, within
from winnow.filters.signals.signal_models import load_tokenizer, pretrained_settings


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
