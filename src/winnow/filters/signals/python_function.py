"""A signal that scores texts with a user-defined Python function."""

from __future__ import annotations

import functools
import inspect
import marshal
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, check_bounds, within_bounds


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PythonFunction(Signal):
    """Scores texts with a Python function; keeps texts whose score is within bounds.

    In YAML, set the function with ``_target_``. Its package must be listed in ``allow_targets``::

        _target_: winnow.filters.PythonFunction
        function: {_target_: my_package.scores.loudness, _partial_: true}
        at_least: 0.5

    Texts are scored again if the source code of the function's module changes. Increase ``revision`` if the scores
    change for any other reason.

    Attributes:
        function: A function that takes a list of texts, in which a null text is ``None``, and returns a number, a
            boolean or ``None`` for each text. The score of a text must not depend on other texts.
        at_least: The minimum score; null for no minimum.
        at_most: The maximum score; null for no maximum.
        on_error: The action if the function raises an exception for a text, or does not return a single number:
            ``fail`` raises an error, ``null`` sets the score to null, and ``drop`` sets the score to null and drops the
            row regardless of the expression. Statistics include the number of null scores.
        revision: A number to increase when the scores change but the source code of the function's module does not.
    """

    version: ClassVar[int] = 1
    identity: ClassVar[str] = "Python"  # the name of this class in version 0.1
    # The cost is unknown. A high value causes the planner to measure it on a sample of rows.
    cost: ClassVar[float] = 1_000.0

    function: Callable[..., Any]
    at_least: float | None = None
    at_most: float | None = None
    on_error: Literal["fail", "null", "drop"] = "fail"
    revision: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        check_bounds(self.at_least, self.at_most)
        if not inspect.isfunction(self._unwrapped_function):
            raise WinnowError(
                f"expected a Python function, got {self.function!r}. Wrap it in a function.", key="function"
            )

    def settings(self) -> dict[str, Any]:
        """Return the function's name and arguments, a hash of its module's source, the revision and ``on_error``."""
        function = self._unwrapped_function
        arguments = self.function.keywords if isinstance(self.function, functools.partial) else {}
        source = _read_source(function)
        identity = {"function": f"{function.__module__}.{function.__qualname__}", "arguments": arguments}
        on_error = "fail" if self.on_error == "fail" else "null"
        return {**identity, "source": fingerprint(source), "revision": self.revision, "on_error": on_error}

    def thresholds(self) -> dict[str, Any]:
        """Return the bounds, and whether rows without a score are dropped."""
        drop = {"on_error": "drop"} if self.requires_score else {}
        return {"at_least": self.at_least, "at_most": self.at_most, **drop}

    @property
    def requires_score(self) -> bool:
        """Whether a row without a score is always dropped."""
        return self.on_error == "drop"

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the results of the function as float64."""
        try:
            scores = _to_floats(self.function(list(texts)))
        except Exception:
            if self.on_error == "fail":
                raise
        else:
            if self.on_error == "fail" or len(scores) == len(texts):
                return scores
        return pa.array([self._score_single(text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores within the inclusive bounds."""
        return within_bounds(scores, self.at_least, self.at_most)

    @property
    def _unwrapped_function(self) -> Any:
        return self.function.func if isinstance(self.function, functools.partial) else self.function

    def _score_single(self, text: str | None) -> float | None:
        try:
            (score,) = _to_floats(self.function([text])).to_pylist()
        except Exception:
            return None
        return score if score is None else float(score)


def signal(
    function: Callable[[str], float | bool | None] | None = None,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    on_error: Literal["fail", "null", "drop"] = "fail",
) -> Any:
    """Convert a function of one text to a signal, for filters that are built in Python, for example in a notebook.

    >>> @signal(at_most=3)
    ... def words(text):
    ...     return len(text.split())
    >>> words.keep(words.score(["so soft", "it is soft and warm", None])).to_pylist()
    [True, False, None]

    Args:
        function: A function that returns a number, a boolean or ``None`` for a text. It is not called for null texts.
        at_least: The minimum score. Without bounds, texts for which the function returns ``True`` are kept.
        at_most: The maximum score.
        on_error: What to do if the function raises an exception, see :class:`PythonFunction`.

    Returns:
        The signal, or a decorator if ``function`` is not given.
    """
    if at_least is None and at_most is None:
        at_least = 0.5

    def decorate(score_text: Callable[[str], float | bool | None]) -> PythonFunction:
        @functools.wraps(score_text)
        def score_texts(texts: Sequence[str | None]) -> list[float | bool | None]:
            return [None if text is None else score_text(text) for text in texts]

        return PythonFunction(score_texts, at_least, at_most, on_error)

    return decorate if function is None else decorate(function)


def _read_source(function: Callable[..., Any]) -> str:
    """Return the source of a function's module; for a function of a notebook, its own source or its bytecode."""
    for container in (inspect.getmodule(function), function):
        try:
            return inspect.getsource(container)  # type: ignore[arg-type]
        except (OSError, TypeError):
            continue
    return marshal.dumps(inspect.unwrap(function).__code__).hex()


def _to_floats(scores: Sequence[float | bool | None]) -> pa.Array:
    return pa.array([None if score is None else float(score) for score in scores], pa.float64())
