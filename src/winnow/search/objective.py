"""Determine the validation metric that a search optimizes."""

from __future__ import annotations

from winnow.config import TrainConfig
from winnow.errors import WinnowError
from winnow.metrics.metric_names import PROBE_GROUP, find_validation_counterpart, parse_metric_name
from winnow.run.run_components import RunComponents
from winnow.studies.declared_metrics import list_available_metrics


def find_objective(requested: str | None, config: TrainConfig, components: RunComponents) -> str:
    """Return the objective: the requested metric, or the validation counterpart of the primary metric.

    In the trials of a search, the scores of probes are means over the validation templates.

    Raises:
        WinnowError: If the metric does not exist, has no direction or would use test data (key ``objective``).
    """
    name = requested or find_validation_counterpart(config.study.primary_metric)
    parsed = parse_metric_name(name)
    if parsed.kind == "held_out" and parsed.group != "validation":
        message = f"expected a metric on validation data, got {name!r}. Choose a metric such as validation/all/loss."
        raise WinnowError(message, "objective")
    if error := list_available_metrics(config, components).find_error(name, "objective"):
        raise error
    if components.metrics.metric(name).direction is None:
        message = f"expected a metric with a direction, got {name!r}: neither higher nor lower values are better."
        raise WinnowError(f"{message} Choose another metric.", "objective")
    if parsed.kind == PROBE_GROUP and any(cloze.split == "both" for cloze in components.probes[parsed.scope].clozes):
        message = f"the probe {parsed.scope!r} has too few templates for separate validation and test templates, so"
        message += " the search would use the prompts of the confirmation. Choose a probe with more templates."
        raise WinnowError(message, "objective")
    return name
