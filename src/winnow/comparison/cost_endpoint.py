"""Test the cost of each filter: non-inferiority in a guard metric, adjusted over the filters under test."""

from __future__ import annotations

import math
from collections.abc import Sequence

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_families import NO_SEED_VARIANCE, compute_contrast, is_post_hoc
from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.endpoints import CostEndpoint, CostOutcome, SliceCost
from winnow.comparison.joint_adjustment import adjust_p_values
from winnow.comparison.metric_scores import compute_seed_scores
from winnow.comparison.non_inferiority import check_non_inferiority
from winnow.metrics.metric_names import ALL_ROWS_SLICE, held_out_metric_name, kept_slice_name, removed_slice_name
from winnow.metrics.metric_registry import Metric

NO_MARGIN = "no margin was declared before the first run"


def measure_cost(study: CollectedStudy, filters: Sequence[str], confidence: float) -> dict[str, CostEndpoint]:
    """Test the cost of each filter, and estimate it separately on the rows that the filter keeps and removes.

    Args:
        study: The study.
        filters: The filters under test.
        confidence: Coverage of the two-sided intervals. The level of the one-sided test is ``(1 - confidence) / 2``.
    """
    declaration, alpha = study.declaration, (1 - confidence) / 2
    metric, margin = study.registry.metric(declaration.guard_metric), declaration.cost_margin
    contrasts = {arm: compute_contrast(study, metric, arm, declaration.baseline, confidence) for arm in filters}
    p_values = [_compute_p_value(result, metric, margin, alpha) for result in contrasts.values()]
    pairs = [(arm, declaration.baseline) for arm in filters]
    below, _ = adjust_p_values(study, metric, pairs, p_values, two_sided=False)
    above, _ = adjust_p_values(study, metric, pairs, [1 - p for p in p_values], two_sided=False)
    endpoints = {}
    for (arm, result), p_below, p_above in zip(contrasts.items(), below, above, strict=True):
        if isinstance(result, str):
            endpoints[arm] = CostEndpoint(metric=metric.name, verdict="untested", margin=margin, reason=result)
            continue
        estimate, interval = _orient_as_cost(result, metric)
        endpoints[arm] = CostEndpoint(
            metric=metric.name,
            estimate=estimate,
            interval=interval,
            p=p_below,
            reason=NO_MARGIN if margin is None else NO_SEED_VARIANCE if math.isnan(p_below) else None,
            post_hoc=is_post_hoc(study, result),
            assumed_independent=result.assumed_independent,
            verdict=_decide_cost_outcome(p_below, p_above, alpha),
            margin=margin,
            baseline_mean=_compute_mean(study, metric, declaration.baseline),
            filter_mean=_compute_mean(study, metric, arm),
            slices=_measure_slices(study, metric, arm, confidence),
        )
    return endpoints


def _compute_p_value(result: Contrast | str, metric: Metric, margin: float | None, alpha: float) -> float:
    """Return the p-value of "the cost is at least the margin"; ``nan`` if it cannot be tested."""
    if isinstance(result, str) or margin is None:
        return math.nan
    return check_non_inferiority(result, margin, alpha, higher_is_better=metric.direction == "higher").p_value


def _decide_cost_outcome(p_below: float, p_above: float, alpha: float) -> CostOutcome:
    if math.isnan(p_below):
        return "untested"
    if p_below <= alpha:
        return "within margin"
    return "worse" if p_above <= alpha else "unclear"


def _orient_as_cost(result: Contrast, metric: Metric) -> tuple[float, tuple[float, float]]:
    """Return the difference and its interval with the sign chosen so that a positive value is a cost."""
    if metric.direction == "higher":
        return -result.difference, (-result.ci_high, -result.ci_low)
    return result.difference, (result.ci_low, result.ci_high)


def _measure_slices(study: CollectedStudy, metric: Metric, arm: str, confidence: float) -> dict[str, SliceCost]:
    """Return the cost on the rows that the filter keeps and on those that it removes. Omit slices without scores."""
    parsed = metric.parsed_name
    if parsed.kind != "held_out" or parsed.scope != ALL_ROWS_SLICE:
        return {}
    costs = {}
    for name, scope in (("kept", kept_slice_name(arm)), ("removed", removed_slice_name(arm))):
        slice_metric = study.registry.metric(held_out_metric_name(parsed.group, scope, parsed.score))
        result = compute_contrast(study, slice_metric, arm, study.declaration.baseline, confidence)
        if isinstance(result, Contrast):
            costs[name] = SliceCost(*_orient_as_cost(result, metric))
    return costs


def _compute_mean(study: CollectedStudy, metric: Metric, arm: str) -> float:
    scores = compute_seed_scores(study, metric, arm)
    return sum(scores.values()) / len(scores) if scores else math.nan
