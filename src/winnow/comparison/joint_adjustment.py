"""Adjust the p-values of the contrasts of a study, jointly if several filters are tested."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
