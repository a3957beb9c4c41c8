"""A function of the user's own as a signal."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, require_bounds, within


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Python(Signal):
    """Scores by a function from a list of texts to as many numbers; keeps scores within bounds.

    In YAML the function is a target of its own, from a package that `allow_targets` admits::

        _target_: winnow.filters.Python
        function: {_target_: my_package.scores.loudness, _partial_: true}
        at_least: 0.5

    Scores are made anew when the source of the function's module changes; ``revision`` says what that does not show.

    Attributes:
        function: The function, from a list of texts (a null is `None`) to a number, true, false or `None` for each. It
            must not look from one text at another.
        at_least: The lowest score to keep; null for no such bound.
        at_most: The highest score to keep; null for no such bound.
        on_error: What becomes of a text at which the function raises, or for which it gives not one number: ``fail`` at
            once; score it ``null``, which the expression and its null policy then deal with; or ``drop`` the row
            whatever the expression says. Both are counted, and so is a `None` that the function itself gives.
        revision: Raised when the function would give other scores although its module is the same.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1_000.0  # nobody knows before it is timed; a small price would leave it untimed

    function: Callable[..., Any]
    at_least: float | None = None
    at_most: float | None = None
    on_error: Literal["fail", "null", "drop"] = "fail"
    revision: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        require_bounds(self.at_least, self.at_most)
        if not inspect.isfunction(self._bare):
            raise WinnowError(f"{self.function!r} is no function.", key="function")

    def settings(self) -> dict[str, Any]:
        """Return the function's name, arguments and source."""
        bare = self._bare
        arguments = self.function.keywords if isinstance(self.function, functools.partial) else {}
        source = inspect.getsource(inspect.getmodule(bare) or bare)
        named = {"function": f"{bare.__module__}.{bare.__qualname__}", "arguments": arguments}
        faults = "fail" if self.on_error == "fail" else "null"
        return {**named, "source": fingerprint(source), "revision": self.revision, "on_error": faults}

    def thresholds(self) -> dict[str, Any]:
        """Return the bounds, and whether rows without a score are dropped."""
        dropping = {"on_error": "drop"} if self.required else {}
        return {"at_least": self.at_least, "at_most": self.at_most, **dropping}

    @property
    def required(self) -> bool:
        """Whether a row for which the function gives no number is dropped."""
        return self.on_error == "drop"

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return what the function gives, as numbers."""
        try:
            scores = _numbers(self.function(list(texts)))
        except Exception:
            if self.on_error == "fail":
                raise
        else:
            if self.on_error == "fail" or len(scores) == len(texts):
                return scores
        return pa.array([self._alone(text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores within the bounds, both included."""
        return within(scores, self.at_least, self.at_most)

    @property
    def _bare(self) -> Any:
        return self.function.func if isinstance(self.function, functools.partial) else self.function

    def _alone(self, text: str | None) -> float | None:
        try:
            (score,) = _numbers(self.function([text])).to_pylist()
        except Exception:
            return None
        return score if score is None else float(score)


def _numbers(scores: Sequence[float | bool | None]) -> pa.Array:
    return pa.array([None if score is None else float(score) for score in scores], pa.float64())
