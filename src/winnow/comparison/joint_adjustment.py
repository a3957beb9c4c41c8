"""Adjust the p-values of the contrasts of a study, jointly if several filters are tested."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from winnow.comparison.arm_estimates import ArmEstimates, estimate_arms
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import holm
from winnow.comparison.crossed_design import pivot_arms
from winnow.comparison.findings import Adjustment
from winnow.comparison.metric_scores import build_score_table
from winnow.comparison.simultaneous_tests import simulate_null
from winnow.errors import WinnowError
from winnow.metrics.metric_registry import Metric

MIN_FILTERS = 2
"""The smallest number of filters under test whose contrasts are adjusted jointly."""


def estimate_study_arms(study: CollectedStudy, metric: Metric, arms: Sequence[str]) -> ArmEstimates | None:
    """Estimate arms jointly from their shared seeds and items, or return ``None`` if they share too few."""
    try:
        table = build_score_table(study, metric, *arms)
        return estimate_arms(pivot_arms(table, arms, study.declaration.block_by_seed))
    except WinnowError:
        return None


def adjust_p_values(
    study: CollectedStudy,
    metric: Metric,
    pairs: Sequence[tuple[str | None, str]],
    p_values: Sequence[float],
    two_sided: bool = True,
) -> tuple[list[float], Adjustment]:
    """Adjust the p-values of contrasts on one metric.

    If at least two filters are under test, the p-values are adjusted by the joint distribution of the contrasts; see
    :mod:`winnow.comparison.simultaneous_tests`. Holm's method is used for a single filter, and if the arms share too
    few seeds or items to estimate the joint distribution.

    Args:
        study: The study.
        metric: The metric.
        pairs: The arms a and b of each contrast.
        p_values: The unadjusted p-values; ``nan`` for a contrast that cannot be computed, which counts as a test.
        two_sided: Whether the p-values are two-sided.

    Returns:
        The adjusted p-values, and the method.
    """
    computed = [pair for pair, p in zip(pairs, p_values, strict=True) if not math.isnan(p)]
    arms = list(dict.fromkeys(arm for pair in computed for arm in pair if arm is not None))
    if len(study.declaration.filters) < MIN_FILTERS or not computed:
        return holm(p_values), "Holm"
    estimates = estimate_study_arms(study, metric, arms)
    if estimates is None:
        return holm(p_values), "Holm"
    contrasts = [{a: 1.0, b: -1.0} if a is not None and (a, b) in computed else {} for a, b in pairs]
    null = simulate_null(estimates, estimates.build_coefficients(contrasts))
    return null.adjust(np.array(p_values), two_sided).tolist(), "joint"


def adjust_by_metric(
    study: CollectedStudy,
    contrasts: Sequence[tuple[Metric, str | None, str]],
    p_values: Mapping[tuple[str, str, str], float],
) -> dict[tuple[str, str, str], tuple[float, Adjustment]]:
    """Adjust the p-values of contrasts on one or more metrics.

    The contrasts on each metric are adjusted by :func:`adjust_p_values`, and then for the number of metrics by
    Bonferroni's method.

    Args:
        study: The study.
        contrasts: The metric and the arms a and b of each declared contrast.
        p_values: The unadjusted p-values of the contrasts that can be computed, by metric, a and b.

    Returns:
        The adjusted p-values, by metric, a and b, and the method.
    """
    by_metric: dict[Metric, list[tuple[str | None, str]]] = {}
    for metric, a, b in contrasts:
        by_metric.setdefault(metric, []).append((a, b))
    adjusted: dict[tuple[str, str, str], tuple[float, Adjustment]] = {}
    for metric, pairs in by_metric.items():
        raw = [p_values.get((metric.name, a or "", b), math.nan) for a, b in pairs]
        by_pair, method = adjust_p_values(study, metric, pairs, raw)
        for (a, b), p in zip(pairs, by_pair, strict=True):
            adjusted[metric.name, a or "", b] = (p if math.isnan(p) else min(1.0, p * len(by_metric)), method)
    return adjusted
