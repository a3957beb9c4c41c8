"""Signals based on the characters of a text or on the values of a numeric column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import regex
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, check_bounds, within_bounds
from winnow.filters.signals.signal_models import load_tokenizer, pretrained_settings

_LITERAL_PATTERN = r"(?:\\b|\(\?:|[()|?]|[\w\s'&-]|\\[\s.-])*"
"""Matches patterns that consist of literal words, without wildcards, repetitions, character classes or lookarounds."""

_REGEX_TIMEOUT_SECONDS = 1.0
"""The time limit for all matches in one text, since some patterns take exponential time.

The package ``regex`` measures CPU time, so other programs do not affect the limit.
"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Regex(Signal):
    """Counts the matches of a regular expression (Python's ``re``); keeps texts with enough matches.

    The package ``regex``, which is compatible with ``re``, finds the matches, because it supports a time limit.

    Attributes:
        pattern: The regular expression. Matches do not overlap.
        ignore_case: Whether to ignore case.
        at_least: The minimum number of matches.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 2.0

    pattern: Annotated[str, Field(min_length=1, max_length=10_000)]
    ignore_case: bool = True
    at_least: Annotated[int, Field(gt=0)] = 1

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)  # unlike errors from `regex`, errors from `re` have exact positions
            _compile(self.pattern, self.ignore_case)
        except (re.error, regex.error) as error:
            mark = f"\n    {self.pattern}\n    {' ' * (error.pos or 0)}^" if len(self.pattern) <= 200 else ""
            raise WinnowError(
                f"the regular expression is not valid: {error.msg}. Correct the pattern.{mark}", key="pattern"
            ) from error
        except (RecursionError, OverflowError, MemoryError) as error:
            raise WinnowError("the regular expression is too large. Shorten it.", key="pattern") from error

    def settings(self) -> dict[str, Any]:
        """Return the pattern and whether case is ignored."""
        return {"pattern": self.pattern, "ignore_case": self.ignore_case}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the number of matches; the score of a null text is null."""
        counts = [None if text is None else sum(1 for _ in self._find_matches(text)) for text in texts]
        return pa.array(counts, pa.float64())

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and end index of each match."""
        return [match.span() for match in self._find_matches(text)]

    @property
    def knows_used_words(self) -> bool:
        """Whether the pattern is literal: words, alternatives, optional characters and word boundaries only."""
        return re.fullmatch(_LITERAL_PATTERN, self.pattern) is not None

    def find_used_words(self, words: Iterable[str]) -> set[str]:
        """Return the words in which the pattern matches, and the words that the pattern spells out.

        A pattern such as ``room.*(dirty|noisy)`` matches no single word but depends on ``dirty`` and ``noisy``.
        """
        flags = re.IGNORECASE if self.ignore_case else 0
        search = re.compile(self.pattern, flags).search
        literals = re.sub(r"\\.|\[[^]]*\]", " ", self.pattern)  # without escapes and character classes
        folded = literals.casefold()

        def is_spelled_out(word: str) -> bool:
            if word.casefold() not in folded:  # much faster than the search, and lists have thousands of words
                return False
            starts = r"(?<![\w<])(?<!\(\?)(?<!\w\?)"  # not the rest of a word, a flag or a group's name
            return re.search(rf"{starts}{re.escape(word)}(?![\w?*{{])", literals, flags) is not None

        return {word for word in words if search(word) or is_spelled_out(word)}

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep texts with at least ``at_least`` matches."""
        return pc.greater_equal(scores, float(self.at_least))

    def _find_matches(self, text: str) -> Iterator[regex.Match[str]]:
        try:
            yield from _compile(self.pattern, self.ignore_case).finditer(text, timeout=_REGEX_TIMEOUT_SECONDS)
        except TimeoutError as error:
            raise WinnowError(
                f"the regular expression takes more than {_REGEX_TIMEOUT_SECONDS:g} s of CPU time on the text "
                f"{text!r:.60}. "
                "Remove nested repetitions, such as (a+)+.",
                key="pattern",
            ) from error


@lru_cache(maxsize=128)
def _compile(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Length(Signal):
    """Measures the length of each text; keeps texts whose length is within bounds.

    Attributes:
        unit: ``characters`` (Unicode code points), ``words`` (separated by whitespace) or ``tokens``.
        at_least: The minimum length; null for no minimum.
        at_most: The maximum length; null for no maximum.
        tokenizer: The tokenizer for the unit ``tokens``: its name on the Hub or the path of a local folder. Special
            tokens are not counted.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.2

    unit: Literal["characters", "words", "tokens"] = "characters"
    at_least: Annotated[int, Field(gt=0)] | None = None
    at_most: Annotated[int, Field(gt=0)] | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        check_bounds(self.at_least, self.at_most)
        if (self.unit == "tokens") != (self.tokenizer is not None):
            expected = "a tokenizer for unit `tokens`" if self.unit == "tokens" else f"null for unit `{self.unit}`"
            fix = "Set `tokenizer`." if self.unit == "tokens" else "Remove `tokenizer`, or set `unit` to `tokens`."
            raise WinnowError(f"expected {expected}, got {self.tokenizer}. {fix}", key="tokenizer")

    def settings(self) -> dict[str, Any]:
        """Return the unit and the tokenizer."""
        return {"unit": self.unit, "tokenizer": self.tokenizer and pretrained_settings(self.tokenizer)}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the lengths; the score of a null text is null."""
        compute_length = self._build_length_function()
        return pa.array([None if text is None else compute_length(text) for text in texts], pa.float64())

    @property
    def knows_used_words(self) -> bool:
        """True, because only the length matters."""
        return True

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep lengths within the inclusive bounds."""
        return within_bounds(scores, self.at_least, self.at_most)

    def _build_length_function(self) -> Callable[[str], int]:
        if self.tokenizer is not None:
            tokenizer = load_tokenizer(self.tokenizer)
            return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return len if self.unit == "characters" else lambda text: len(text.split())


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NotNull(Signal):
    """Scores 1 if a row has a text and 0 if the text is null; keeps rows with a text."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 0.1

    def settings(self) -> dict[str, Any]:
        """Return an empty dictionary, because the signal has no settings."""
        return {}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return 1 for a text and 0 for a null text."""
        return pa.array([float(text is not None) for text in texts], pa.float64())

    @property
    def knows_used_words(self) -> bool:
        """True, because the words of a text do not matter."""
        return True

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep rows with a text."""
        return pc.greater(scores, 0.0)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Column(Signal):
    """Reads a number, such as a rating, from another column; keeps rows whose number is within bounds.

    Attributes:
        column: A numeric column that is listed in the source's ``columns``, or ``label``.
        at_least: The minimum value; null for no minimum.
        at_most: The maximum value; null for no maximum.
    """

    version: ClassVar[int] = 1
    identity: ClassVar[str] = "Field"  # the name of this class in version 0.1
    cost: ClassVar[float] = 0.1

    column: Annotated[str, Field(min_length=1)]
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        check_bounds(self.at_least, self.at_most)

    @property
    def scored_column(self) -> str:
        """The name of the column."""
        return self.column

    def settings(self) -> dict[str, Any]:
        """Return the name of the column."""
        return {"column": self.column}

    def score(self, texts: Sequence[float | None]) -> pa.Array:
        """Return the numbers unchanged.

        Raises:
            WinnowError: If the column contains text.
        """
        try:
            return pa.array(texts, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            example = next(value for value in texts if isinstance(value, str))
            raise WinnowError(
                f"expected a column of numbers, got {example!r:.60} in '{self.column}'. Choose a numeric column.",
                "column",
            ) from error

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep numbers within the inclusive bounds."""
        return within_bounds(scores, self.at_least, self.at_most)
