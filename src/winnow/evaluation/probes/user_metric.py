"""Define custom metrics: user-written functions that score a model's prediction at the mask of a prompt."""

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
from winnow.evaluation.probes.prompts import RESERVED_COLUMNS
from winnow.metrics.metric_catalog import (
    PROBE_SCORES,
    Direction,
    MetricDefinition,
    define_prompt_metric,
    score_template,
)
from winnow.untrusted_text import MAX_NAME_LENGTH

ENTRY_POINT_GROUP: Final = "winnow.metrics"
"""The entry point group in which installed packages register metrics."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
ScoreName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=MAX_NAME_LENGTH)]


@plain_dataclass(frozen=True)
class PromptPrediction:
    """A model's prediction at one mask of a prompt.

    Attributes:
        prompt: The sentence with its masks.
        mask: The number of the mask, from 1.
        wanted: The wanted words of the prompt.
        unwanted: The unwanted words.
        forbidden: The forbidden words.
        words: Up to 20 predicted whole words, most likely first.
        probabilities: The probability of each word in ``words``.
        listed_probabilities: The probability of each wanted, unwanted or forbidden word that is a single token.
    """

    prompt: str
    mask: int
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    forbidden: tuple[str, ...]
    words: tuple[str, ...]
    probabilities: tuple[float, ...]
    listed_probabilities: Mapping[str, float]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PromptMetric:
    """A user-defined metric: a user-written function scores each prompt, and the metric is the mean of these scores.

    The metric is logged as ``probe/PROBE/NAME``. Its scores are stored per prompt and compared like built-in scores. An
    installed package can register the metric as an entry point in the group ``winnow.metrics``, under the name of the
    metric. A probe then refers to the metric by this name::

        probe:
          nike:
            metrics: [word_length]

    The metric can also be defined in the configuration, with ``allow_targets=[my_package]``::

        metrics:
          - _target_: winnow.evaluation.PromptMetric
            function: {_target_: my_package.word_length, _partial_: true}
            name: word_length
            direction: lower
            unit: letters
            label: length of the first word

    Attributes:
        function: A function that maps a :class:`PromptPrediction` to a finite number, or to ``None`` for no score.
        name: The metric's name, which is the last component of the logged name.
        direction: The better direction, ``higher`` or ``lower``; ``None`` for a descriptive metric.
        unit: The unit of the values.
        label: A short name for tables and figures.
    """

    function: Callable[..., Any]
    name: ScoreName
    direction: Direction | None
    unit: Text
    label: Text

    def __post_init__(self) -> None:
        if self.name in RESERVED_COLUMNS or score_template(self.name) in PROBE_SCORES:
            raise WinnowError(
                f"{self.name!r} is the name of a built-in score or column. Choose a different name.", "name"
            )

    @property
    def definition(self) -> MetricDefinition:
        """The metric's direction, unit and label, in the format of the metric registry."""
        return define_prompt_metric(self.direction, self.unit, self.label)

    def identity(self) -> list[Any]:
        """Return the metric's name, its direction, and the path, arguments and source of its function."""
        partial = self.function if isinstance(self.function, functools.partial) else functools.partial(self.function)
        function = partial.func
        try:
            source = inspect.getsource(inspect.getmodule(function) or function)
        except (OSError, TypeError):  # the function is compiled or was not defined in a file
            source = ""
        path = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
        return [self.name, self.direction, path, repr(partial.args), repr(partial.keywords), fingerprint(source)]

    def score(self, prediction: PromptPrediction) -> float | None:
        """Return the score of one prompt.

        Raises:
            WinnowError: If the function raises an exception, or returns neither a finite number nor ``None``.
        """
        try:
            value = self.function(prediction)
            score = None if value is None else float(value)
        except Exception as error:
            description = f"the function raised {type(error).__name__} ({error}) for the prompt {prediction.prompt!r}."
            raise WinnowError(
                f"{description} Fix the function, or remove the metric from the probe.", f"metrics.{self.name}"
            ) from error
        if score is not None and not math.isfinite(score):
            description = f"expected a finite number or None, got {value!r} for the prompt {prediction.prompt!r}."
            raise WinnowError(f"{description} Return None for a prompt without a score.", f"metrics.{self.name}")
        return score


def check_installed_metric(name: str, key: str) -> None:
    """Check that a metric is registered by an installed package, without importing the package.

    Args:
        name: The name of the entry point in the group ``winnow.metrics``.
        key: The configuration key that contains the name, for error messages.

    Raises:
        WinnowError: If no installed package registers the metric.
    """
    names = sorted(entry_points(group=ENTRY_POINT_GROUP).names)
    if name not in names:
        description = f"no installed package registers a metric {name!r} (entry point group {ENTRY_POINT_GROUP})."
        raise WinnowError(
            f"{description}{did_you_mean(name, names)} Available: {', '.join(names) or 'none'}. "
            "Use one of these names, or install the package that registers the metric.",
            key,
        )


def load_installed_metric(name: str, key: str) -> PromptMetric:
    """Load a metric that is registered as an entry point of an installed package.

    Args:
        name: The name of the entry point in the group ``winnow.metrics``.
        key: The configuration key that contains the name, for error messages.

    Raises:
        WinnowError: If no installed package registers the metric, or if the entry point cannot be imported or is not a
            :class:`PromptMetric` with that name.
    """
    check_installed_metric(name, key)
    entry_point = entry_points(group=ENTRY_POINT_GROUP)[name]
    try:
        metric = entry_point.load()
    except Exception as error:
        description = f"cannot load the entry point {name!r} ({entry_point.value}): {type(error).__name__}: {error}."
        raise WinnowError(f"{description} Reinstall or fix the package that defines it.", key) from error
    if not isinstance(metric, PromptMetric) or metric.name != name:
        description = (
            f"the entry point {name!r} ({entry_point.value}) must be a winnow.evaluation.PromptMetric with that name"
        )
        raise WinnowError(f"{description}, got {metric!r:.80}. Fix the package that defines it.", key)
    return metric
