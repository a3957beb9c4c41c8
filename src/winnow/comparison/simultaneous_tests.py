"""Adjust the p-values and intervals of several contrasts jointly, from the joint distribution of their t statistics.

The null distribution of the smallest p-value is simulated: the estimates are multivariate normal with the estimated
correlations, and each is divided by an independent standard error with the degrees of freedom of its contrast. The
marginal distributions are therefore those of the unadjusted tests. If the true standard errors are positively
associated, as for contrasts that share an arm or items, independent ones are conservative (Christofides and Vaggelatou
2004, Journal of Multivariate Analysis 88:138).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.arm_estimates import ArmEstimates
from winnow.comparison.contrast_statistics import check_confidence, holm
from winnow.comparison.distributions import t_tail_probabilities

Array = NDArray[np.float64]
Name = TypeVar("Name")

DRAWS = 10_000
"""The number of simulated studies."""


@dataclass(frozen=True)
class JointNull:
    """Simulated unadjusted p-values of a family of contrasts that are all 0, with shape (draws, contrasts)."""

    p_values: Array

    def adjust(self, p_values: Array) -> Array:
        """Adjust p-values by the step-down method of Westfall and Young (1993, Resampling-Based Multiple Testing).

        An adjusted p-value is never larger than that of Holm's method, of which it is an improvement. A ``nan`` stays
        ``nan`` but counts as a test, as in :func:`winnow.comparison.holm`.

        Args:
            p_values: The unadjusted p-values, of the same kind (one-sided or two-sided) as the simulated ones.
        """
        order = np.argsort(p_values, kind="stable")  # missing p-values are last
        smallest = np.minimum.accumulate(self.p_values[:, order[::-1]], axis=1)[:, ::-1]
        counts = (smallest <= p_values[order]).sum(axis=0)
        ordered = np.maximum.accumulate(np.maximum((1 + counts) / (1 + len(smallest)), p_values[order]))
        adjusted = np.full(len(p_values), np.nan)
        adjusted[order] = np.minimum(ordered, np.array(holm(list(p_values)))[order])
        return adjusted

    def find_level(self, alpha: float) -> float:
        """Return the level of each contrast at which the intervals of all contrasts have the joint level ``alpha``.

        The level is at least that of Bonferroni, ``alpha / contrasts``, and at most ``alpha``.
        """
        level = float(np.quantile(self.p_values.min(axis=1), alpha))
        smallest: float = alpha / self.p_values.shape[1]
        return min(alpha, max(level, smallest))


def simulate_null(
    correlation: Array, df: Array, two_sided: bool = True, draws: int = DRAWS, seed: int = 0
) -> JointNull:
    """Simulate the unadjusted p-values of a family of contrasts that are all 0.

    Args:
        correlation: The correlation matrix of the estimates.
        df: The degrees of freedom of each contrast. A contrast with ``nan`` is treated as independent of the others.
        two_sided: Whether the p-values are two-sided. One-sided p-values are those of positive contrasts.
        draws: The number of simulated studies.
        seed: The seed of the simulation. The default makes results reproducible.
    """
    rng, is_missing = np.random.default_rng(seed), np.isnan(df)
    correlation = np.where(is_missing[:, None] | is_missing, np.eye(len(df)), correlation)
    values, vectors = np.linalg.eigh(correlation)
    normal = rng.standard_normal((draws, len(df))) @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    degrees = np.where(is_missing, 1.0, df)
    statistics = normal / np.sqrt(2 * rng.standard_gamma(degrees / 2, (draws, len(df))) / degrees)
    if two_sided:
        return JointNull(2 * t_tail_probabilities(np.abs(statistics), degrees))
    return JointNull(t_tail_probabilities(statistics, degrees))


@dataclass(frozen=True)
class AdjustedEffect:
    """One contrast of a family, with an interval and a p-value that account for the whole family.

    Attributes:
        estimate: The estimated contrast.
        std_error: Its standard error.
        df: Satterthwaite's degrees of freedom; ``nan`` if the variance cannot be estimated.
        ci_low: Lower end of the simultaneous interval; ``nan`` if the variance cannot be estimated.
        ci_high: Upper end of the simultaneous interval.
        p_value: The two-sided p-value, not adjusted.
        p_adjusted: The two-sided p-value, adjusted for the family.
    """

    estimate: float
    std_error: float
    df: float
    ci_low: float
    ci_high: float
    p_value: float
    p_adjusted: float


def estimate_jointly(
    estimates: ArmEstimates,
    contrasts: Mapping[Name, Mapping[str, float]],
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[Name, AdjustedEffect]:
    """Estimate a family of contrasts with simultaneous intervals and adjusted p-values.

    All intervals together cover the true contrasts with the given confidence. A single contrast is not adjusted.

    Args:
        estimates: The estimates of the arms.
        contrasts: For each contrast, the coefficient of each arm. The coefficients of a contrast sum to 0.
        confidence: Joint coverage of the intervals.
        draws: The number of simulated studies.
        seed: The seed of the simulation.

    Returns:
        The effects, with the keys of ``contrasts``.
    """
    check_confidence(confidence)
    coefficients = estimates.build_coefficients(list(contrasts.values()))
    effects = estimates.estimate(coefficients)
    level, adjusted = 1 - confidence, effects.p_value
    if len(contrasts) > 1:
        null = simulate_null(estimates.correlate(coefficients), effects.df, draws=draws, seed=seed)
        level, adjusted = null.find_level(level), null.adjust(effects.p_value)
    columns = (
        effects.estimate, effects.std_error, effects.df, *effects.interval(level), effects.p_value, adjusted
    )  # fmt: skip
    return {
        name: AdjustedEffect(*map(float, values))
        for name, values in zip(contrasts, zip(*columns, strict=True), strict=True)
    }
