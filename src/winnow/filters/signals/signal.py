"""What a signal is: one score for each row, and which scores to keep."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError


class Signal(ABC):
    """Gives every row a score and says which scores to keep.

    Scoring is apart from keeping, so that another threshold needs no second scoring.

    Attributes:
        version: Raised when the same text and settings would get another score.
        cost: A rough price, in microseconds a text.
        whole: Whether a score depends on other rows, so that all must be given at once.
    """

    version: ClassVar[int]
    cost: ClassVar[float]
    whole: ClassVar[bool] = False

    @property
    def required(self) -> bool:
        """Whether a row to which the signal gives no score is dropped, whatever the expression says."""
        return False

    @property
    def scored_column(self) -> str:
        """The column of the corpus that is scored."""
        return "text"

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the scores depend on, thresholds left out."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that name the scores this signal gives."""
        return fingerprint(type(self).__name__, self.version, self.settings())

    def thresholds(self) -> dict[str, Any]:
        """Return what the verdicts depend on besides the scores."""
        named: list[str] = [field.name for field in dataclasses.fields(self)] if dataclasses.is_dataclass(self) else []
        return {name: getattr(self, name) for name in named if name not in self.settings()}

    def check(self) -> list[WinnowError]:
        """Return the faults of the world: a file or a package that is not there."""
        return []

    @abstractmethod
    def score(self, texts: Sequence[Any]) -> pa.Array:
        """Return one float64 score for each text; null where the signal cannot say."""

    def score_array(self, values: pa.Array) -> pa.Array:
        """Return the same for an Arrow array; a signal that needs no Python strings overrides it."""
        return self.score(values.to_pylist())

    @abstractmethod
    def keep(self, scores: pa.Array) -> pa.Array:
        """Return one verdict for each score; null stays null."""


def within(scores: pa.Array, at_least: float | None, at_most: float | None) -> pa.Array:
    """Return which scores lie within the bounds, both included; null stays null."""
    above = pc.greater_equal(scores, float("-inf") if at_least is None else float(at_least))
    return pc.and_kleene(above, pc.less_equal(scores, float("inf") if at_most is None else float(at_most)))


def require_bounds(at_least: float | None, at_most: float | None) -> None:
    """Raise where bounds remove nothing or everything."""
    if at_least is None and at_most is None:
        raise WinnowError("Without `at_least` or `at_most` nothing is removed. Give one.", key="at_least")
    if at_least is not None and at_most is not None and at_least > at_most:
        raise WinnowError(f"Nothing is at least {at_least} and at most {at_most}.", key="at_least")


def missing_package(package: str, extra: str, who: str = "This signal") -> list[WinnowError]:
    """Return the fault that an optional package, which somebody needs, is not installed; none where it is."""
    if find_spec(package) is not None:
        return []
    return [WinnowError(f"{who} needs the package {package}: pip install 'winnow[{extra}]'.")]
