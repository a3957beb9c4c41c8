"""Metrics of the user's own: a function that scores what a model predicts at the mask of one prompt."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass as plain_dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any, Final

from pydantic import ConfigDict, StringConstraints
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, did_you_mean
from winnow.evaluation.probes.prompts import RESERVED
from winnow.metrics.metric_catalog import PROBE_SCORES, Definition, Direction, of_prompts, stem

GROUP: Final = "winnow.metrics"
"""The entry points under which installed packages offer metrics."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
ScoreName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


@plain_dataclass(frozen=True)
class PromptAnswer:
    """What a model predicts at one mask of a prompt.

    Attributes:
        prompt: The sentence with its masks.
        mask: Which mask is meant, from 1.
        wanted: The wanted words of the prompt.
        unwanted: The unwanted words.
        forbidden: The forbidden words.
        words: The most likely whole words, the first first, at most 20.
        probabilities: The probability of each of them.
        listed: The probability of each wanted, unwanted or forbidden word that is a single token.
    """

    prompt: str
    mask: int
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    forbidden: tuple[str, ...]
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    listed: Mapping[str, float]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PromptMetric:
    """A score of each prompt of a probe by a function of the user's own; the metric is its mean over prompts.

    It is logged as ``probe/PROBE/NAME``, stored per prompt, and compared like Winnow's own. A package offers it as an
    entry point of the group ``winnow.metrics``, whose name is the metric's; a probe lists it by that name::

        probe:
          nike:
            metrics: [word_length]

    or in full, with ``allow_targets=[my_package]``::

        metrics:
          - _target_: winnow.evaluation.PromptMetric
            function: {_target_: my_package.word_length, _partial_: true}
            name: word_length
            direction: lower
            unit: letters
            label: length of the first word

    Attributes:
        function: Takes a :class:`PromptAnswer` and returns a finite number, or ``None`` for a prompt without a score.
        name: The last part of the metric's name.
        direction: Which value is the better one, ``higher`` or ``lower``; ``null`` for a descriptive metric.
        unit: The unit of its values.
        label: The metric in a few words.
    """

    function: Callable[..., Any]
    name: ScoreName
    direction: Direction | None
    unit: Text
    label: Text

    def __post_init__(self) -> None:
        if self.name in RESERVED or stem(self.name) in PROBE_SCORES:
            raise WinnowError(f"{self.name!r} is the name of a built-in score or column. Choose another.", "name")

    @property
    def definition(self) -> Definition:
        """What the registry holds of it."""
        return of_prompts(self.direction, self.unit, self.label)

    def identity(self) -> list[Any]:
        """Return all that decides its scores: the function's name, arguments and source."""
        partial = self.function if isinstance(self.function, functools.partial) else functools.partial(self.function)
        function = partial.func
        try:
            source = inspect.getsource(inspect.getmodule(function) or function)
        except (OSError, TypeError):  # compiled code, or a function without a file
            source = ""
        where = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        return [self.name, self.direction, where, repr(partial.args), repr(partial.keywords), fingerprint(source)]

    def score(self, answer: PromptAnswer) -> float | None:
        """Return the score of one prompt.

        Raises:
            WinnowError: The function raises, or returns something else than a finite number or ``None``.
        """
        try:
            value = self.function(answer)
            score = None if value is None else float(value)
        except Exception as error:
            told = f"the function raised {type(error).__name__} ({error}) for the prompt {answer.prompt!r}."
            raise WinnowError(f"{told} Fix it, or remove the metric from the probe.", f"metrics.{self.name}") from error
        if score is not None and not math.isfinite(score):
            told = f"expected a finite number or None, got {value!r} for the prompt {answer.prompt!r}."
            raise WinnowError(f"{told} Return None for a prompt without a score.", f"metrics.{self.name}")
        return score


def installed_metric(name: str, key: str) -> PromptMetric:
    """Return the metric that an installed package offers under a name.

    Args:
        name: The name of its entry point in the group ``winnow.metrics``.
        key: Where the name stands in the configuration, for error messages.

    Raises:
        WinnowError: No installed package offers it, it cannot be imported, or it is no metric of that name.
    """
    offered = entry_points(group=GROUP)
    if name not in offered.names:
        known = sorted(offered.names)
        told = f"no installed package has a metric {name!r} (an entry point of the group {GROUP})."
        raise WinnowError(f"{told}{did_you_mean(name, known)} Installed: {', '.join(known) or 'none'}.", key)
    point = offered[name]
    try:
        metric = point.load()
    except Exception as error:
        told = f"the entry point {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}."
        raise WinnowError(f"{told} Reinstall or fix its package.", key) from error
    if not isinstance(metric, PromptMetric) or metric.name != name:
        told = f"the entry point {name!r} ({point.value}) must be a winnow.evaluation.PromptMetric of that name"
        raise WinnowError(f"{told}, got {metric!r:.80}. Fix its package.", key)
    return metric
