"""The base class of all signals, and helper functions shared by several signals."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError


class Signal(ABC):
    """Base class for signals, which score every row and decide which rows pass.

    Scoring is separate from the decision, so a threshold can change without scoring the rows again.

    Attributes:
        version: A number to increase whenever the score of the same text with the same settings changes.
        cost: The approximate cost of scoring, in microseconds per text.
        needs_all_rows: Whether a row's score depends on other rows, so that all rows must be scored in one call.
        identity: The signal's name in fingerprints; defaults to the class name. If you rename a class, set ``identity``
            to the old name so that cached scores and finished runs are still recognized.
    """

    version: ClassVar[int]
    cost: ClassVar[float]
    needs_all_rows: ClassVar[bool] = False
    identity: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "identity" not in vars(cls):
            cls.identity = cls.__name__

    @property
    def requires_score(self) -> bool:
        """Whether a row without a score is always dropped, regardless of the expression."""
        return False

    @property
    def scored_column(self) -> str:
        """The name of the corpus column to score."""
        return "text"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings that affect the scores; thresholds are not included."""

    def fingerprint(self) -> str:
        """Return a 16-digit hex string that identifies the scores of this signal."""
        return fingerprint(self.identity, self.version, self.settings())

    def thresholds(self) -> dict[str, Any]:
        """Return the settings that affect the verdicts but not the scores."""
        names: list[str] = [field.name for field in dataclasses.fields(self)] if dataclasses.is_dataclass(self) else []
        return {name: getattr(self, name) for name in names if name not in self.settings()}

    @property
    def knows_used_words(self) -> bool:
        """Whether :meth:`find_used_words` finds every word that affects a score. False for classifiers, for example."""
        return False

    def find_used_words(self, words: Iterable[str]) -> set[str]:
        """Return the given words that are known to affect the scores of texts in which they occur."""
        return set()

    def check(self) -> list[WinnowError]:
        """Return one error for each missing file or package that the signal requires."""
        return []

    @abstractmethod
    def score(self, texts: Sequence[Any]) -> pa.Array:
        """Return one float64 score per text; the score is null for a text that the signal cannot score."""

    def score_array(self, values: pa.Array) -> pa.Array:
        """Score an Arrow array. Override this method to avoid converting the texts to Python strings."""
        return self.score(values.to_pylist())

    @abstractmethod
    def keep(self, scores: pa.Array) -> pa.Array:
        """Return one verdict per score; the verdict of a null score is null."""


def within_bounds(scores: pa.Array, at_least: float | None, at_most: float | None) -> pa.Array:
    """Return whether each score is within the inclusive bounds; the result is null for a null score."""
    is_above = pc.greater_equal(scores, float("-inf") if at_least is None else float(at_least))
    return pc.and_kleene(is_above, pc.less_equal(scores, float("inf") if at_most is None else float(at_most)))


def check_bounds(at_least: float | None, at_most: float | None) -> None:
    """Check the bounds of a signal.

    Raises:
        WinnowError: If both bounds are missing, or if the lower bound is greater than the upper bound.
    """
    if at_least is None and at_most is None:
        raise WinnowError(
            "expected `at_least`, `at_most` or both, got neither. Set one of them, or remove the signal.",
            key="at_least",
        )
    if at_least is not None and at_most is not None and at_least > at_most:
        raise WinnowError(
            f"expected a value no greater than `at_most` ({at_most}), got {at_least}. Swap the bounds, or remove one.",
            key="at_least",
        )


def missing_package_errors(package: str, extra: str, component: str = "this signal") -> list[WinnowError]:
    """Return one error if an optional package that a component requires is not installed."""
    if find_spec(package) is not None:
        return []
    return [WinnowError(f"{component} requires the package {package}. Install it: pip install 'winnow-mlm[{extra}]'.")]
