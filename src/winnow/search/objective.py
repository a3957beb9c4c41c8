"""Determine the validation metrics that a search optimizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from winnow.config import TrainConfig
from winnow.errors import WinnowError, WinnowErrors
from winnow.metrics.metric_names import PROBE_GROUP, find_validation_counterpart, parse_metric_name
from winnow.run.run_components import RunComponents
from winnow.studies.declared_metrics import list_available_metrics


@dataclass(frozen=True)
class Objective:
    """A metric that a search optimizes.

    Attributes:
        metric: The name of the metric.
        maximize: Whether higher values are better.
    """

    metric: str
    maximize: bool

    @property
    def sign(self) -> int:
        """1 if higher values are better, otherwise -1."""
        return 1 if self.maximize else -1

    @property
    def score_name(self) -> str:
        """The last component of the metric's name."""
        return self.metric.rpartition("/")[2]


def find_objectives(requested: Sequence[str], config: TrainConfig, components: RunComponents) -> list[Objective]:
    """Return the objectives: the target and, if requested, the cost.

    The default target is the validation counterpart of the primary metric. In the trials of a search, the scores of
    probes are means over the validation templates.

    Raises:
        WinnowErrors: If a metric does not exist, has no direction or would use test data (key ``objectives``).
    """
    names = list(requested) or [find_validation_counterpart(config.study.primary_metric)]
    errors = [error for name in names if (error := _find_error(name, config, components))]
    if len(set(names)) < len(names):
        errors.append(WinnowError(f"got {names[0]} twice. Choose another metric as the cost.", "objectives"))
    if errors:
        raise WinnowErrors(errors)
    return [Objective(name, components.metrics.metric(name).direction == "higher") for name in names]


def _find_error(name: str, config: TrainConfig, components: RunComponents) -> WinnowError | None:
    parsed = parse_metric_name(name)
    if parsed.kind == "held_out" and parsed.group != "validation":
        message = f"expected a metric on validation data, got {name!r}. Choose a metric such as validation/all/loss."
        return WinnowError(message, "objectives")
    if error := list_available_metrics(config, components).find_error(name, "objectives"):
        return error
    if components.metrics.metric(name).direction is None:
        message = f"expected a metric with a direction, got {name!r}: neither higher nor lower values are better."
        return WinnowError(f"{message} Choose another metric.", "objectives")
    if parsed.kind == PROBE_GROUP and any(cloze.split == "both" for cloze in components.probes[parsed.scope].clozes):
        message = f"the probe {parsed.scope!r} has too few templates for separate validation and test templates, so"
        message += " the search would use the prompts of the confirmation. Choose a probe with more templates."
        return WinnowError(message, "objectives")
    return None
