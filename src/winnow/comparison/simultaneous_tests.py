"""Adjust the p-values and intervals of several contrasts jointly, by simulation of their joint null distribution.

With few seeds, Satterthwaite's approximation is too liberal for very small p-values, so that Bonferroni's and Holm's
methods reject too often if there are many contrasts. The null distribution of the smallest p-value is therefore
simulated, including the approximation: the estimates are multivariate normal with the estimated correlations, and the
mean squares of each contrast are drawn around the variance terms that are averaged over the contrasts. The mean squares
of different contrasts are drawn independently. If they are positively associated in truth, as for contrasts that share
an arm, this is conservative (Christofides and Vaggelatou 2004, Journal of Multivariate Analysis 88:138).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.arm_estimates import ArmEstimates, Effects
from winnow.comparison.contrast_statistics import check_confidence
from winnow.comparison.difference_variance import VarianceTerm, combine_terms
from winnow.comparison.distributions import t_tail_probabilities

Array = NDArray[np.float64]
Name = TypeVar("Name")

DRAWS = 10_000
"""The number of simulated studies."""

MIN_DF = 2
"""The fewest degrees of freedom of every variance term with which a single contrast is calibrated, and with which the
simultaneous intervals depend on the degrees of freedom of each contrast. Two seeds have 1 degree of freedom."""

CHUNK = 1000
"""The number of studies that are simulated at once, which limits the memory."""


@dataclass(frozen=True)
class JointNull:
    """Simulated unadjusted p-values of a family of contrasts that are all 0.

    Attributes:
        p_positive: One-sided p-values of the null hypotheses that the contrasts are at most 0, with shape (draws,
            contrasts).
        statistic: The estimates divided by their standard errors, with the same shape.
    """

    p_positive: Array
    statistic: Array

    @property
    def p_value(self) -> Array:
        """Two-sided p-values, with shape (draws, contrasts)."""
        p_values: Array = 2 * np.minimum(self.p_positive, 1 - self.p_positive)
        return p_values

    def adjust(self, p_values: Array, two_sided: bool = True) -> Array:
        """Adjust p-values by the step-down method of Westfall and Young (1993, Resampling-Based Multiple Testing).

        The smallest adjusted p-value is ``1 / (draws + 1)``. A ``nan`` stays ``nan`` but counts as a test, as in
        :func:`winnow.comparison.holm`.

        Args:
            p_values: The unadjusted p-values of the contrasts.
            two_sided: Whether they are two-sided. One-sided p-values are those of positive contrasts.
        """
        simulated = self.p_value if two_sided else self.p_positive
        order = np.argsort(p_values, kind="stable")  # missing p-values are last
        smallest = np.minimum.accumulate(simulated[:, order[::-1]], axis=1)[:, ::-1]
        counts = (smallest <= p_values[order]).sum(axis=0)
        ordered = np.maximum((1 + counts) / (1 + len(smallest)), p_values[order])
        adjusted = np.full(len(p_values), np.nan)
        adjusted[order] = np.where(np.isnan(p_values[order]), np.nan, np.maximum.accumulate(ordered))
        return adjusted

    def calibrate(self, p_values: Array) -> Array:
        """Return the probability that the unadjusted p-value of each contrast is as small as observed.

        Each contrast is calibrated separately, without an adjustment for the number of contrasts (prepivoting; Beran
        1988, Journal of the American Statistical Association 83:687).
        """
        calibrated: Array = (1 + (self.p_value <= p_values).sum(axis=0)) / (1 + len(self.p_value))
        return np.where(np.isnan(p_values), np.nan, calibrated)

    def find_level(self, alpha: float) -> float:
        """Return the level of each two-sided interval at which all intervals jointly have the level ``alpha``."""
        return min(alpha, float(np.quantile(self.p_value.min(axis=1), alpha)))

    def find_critical_value(self, alpha: float) -> float:
        """Return the multiple of the standard errors with which all intervals jointly have the level ``alpha``."""
        return float(np.quantile(np.abs(self.statistic).max(axis=1), 1 - alpha))


def simulate_null(estimates: ArmEstimates, coefficients: Array, draws: int = DRAWS, seed: int = 0) -> JointNull:
    """Simulate the unadjusted p-values of a family of contrasts that are all 0.

    Args:
        estimates: The estimates of the arms.
        coefficients: The coefficients of the contrasts, with shape (contrasts, arms).
        draws: The number of simulated studies.
        seed: The seed of the simulation. The default makes results reproducible.
    """
    rng = np.random.default_rng(seed)
    terms = _average_terms(estimates, coefficients)
    deviation = np.sqrt(combine_terms(terms).variance)
    values, vectors = np.linalg.eigh(estimates.correlate(coefficients))
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    p_values, statistics = [], []
    for start in range(0, draws, CHUNK):
        shape = (min(CHUNK, draws - start), len(coefficients))
        simulated = [
            VarianceTerm(t.source, t.sample, t.value * rng.standard_gamma(t.df / 2, shape) / (t.df / 2), t.df)
            for t in terms
        ]
        combined = combine_terms(simulated)
        statistic = deviation * (rng.standard_normal(shape) @ root) / np.sqrt(combined.variance)
        p_values.append(t_tail_probabilities(statistic, combined.df))
        statistics.append(statistic)
    return JointNull(np.concatenate(p_values), np.concatenate(statistics))


def _average_terms(estimates: ArmEstimates, coefficients: Array) -> list[VarianceTerm]:
    """Return the variance terms, averaged over the contrasts. The terms of different samples of seeds are added.

    With few seeds, the terms of a single contrast are imprecise, but their average over a family is not. The variances
    of the contrasts may differ: only the proportions of the terms matter.
    """
    groups: dict[tuple[str, bool], list[VarianceTerm]] = {}
    for term in estimates.terms:
        evaluated = term.evaluate(coefficients)
        groups.setdefault((term.source, evaluated.is_main), []).append(evaluated)
    has_variance = ~np.isnan(estimates.estimate(coefficients).df)
    averages = []
    for (source, _), terms in groups.items():
        value = np.sum([np.asarray(term.value) for term in terms], axis=0)[has_variance]
        squares = np.sum([np.square(term.value) / term.df for term in terms], axis=0)[has_variance]
        if value.any():
            df = 1 / float(np.mean(squares[value != 0] / np.square(value[value != 0])))
            averages.append(VarianceTerm(source, terms[0].sample, float(value.mean()), df))
    return averages


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
        p_adjusted: The two-sided p-value, adjusted for the family. That of a single contrast may be calibrated; see
            :func:`estimate_calibrated`.
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
    interval, adjusted = effects.interval(1 - confidence), effects.p_value
    if np.isfinite(effects.df).sum() > 1:
        null = simulate_null(estimates, coefficients, draws, seed)
        adjusted = null.adjust(effects.p_value)
        if min(term.df for term in estimates.terms) >= MIN_DF:
            interval = effects.interval(null.find_level(1 - confidence))
        else:  # a small level and 1 degree of freedom would result in intervals of any length
            half_width = null.find_critical_value(1 - confidence) * effects.std_error
            interval = effects.estimate - half_width, effects.estimate + half_width
    return dict(zip(contrasts, _list_effects(effects, interval, adjusted), strict=True))


def estimate_calibrated(
    estimates: ArmEstimates,
    contrast: Mapping[str, float],
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> AdjustedEffect:
    """Estimate a single contrast with an interval and a p-value that are calibrated by simulation.

    With few seeds, Satterthwaite's approximation rejects slightly too often if most of the variance, but not all of it,
    comes from the seeds. The p-value is therefore compared with those of simulated studies without an effect, which
    have the estimated variance terms. With a single term, the approximation is exact, and with 2 seeds, the estimated
    terms are too imprecise, so nothing is simulated.

    Args:
        estimates: The estimates of the arms.
        contrast: The coefficient of each arm. The coefficients sum to 0.
        confidence: Coverage of the interval.
        draws: The number of simulated studies.
        seed: The seed of the simulation.
    """
    check_confidence(confidence)
    coefficients = estimates.build_coefficients([contrast])
    effects = estimates.estimate(coefficients)
    interval, calibrated = effects.interval(1 - confidence), effects.p_value
    terms = [term.evaluate(coefficients) for term in estimates.terms]
    sizes = np.abs(np.stack([np.asarray(term.value, dtype=np.float64) for term in terms]))
    is_exact = (sizes > 1e-9 * sizes.max()).sum() == 1
    has_seeds = min(term.df for term in terms) >= MIN_DF
    if has_seeds and not is_exact and np.isfinite(effects.df).all():
        null = simulate_null(estimates, coefficients, draws, seed)
        interval = effects.interval(float(np.quantile(null.p_value, 1 - confidence)))
        calibrated = null.calibrate(effects.p_value)
    (effect,) = _list_effects(effects, interval, calibrated)
    return effect


def _list_effects(effects: Effects, interval: tuple[Array, Array], adjusted: Array) -> list[AdjustedEffect]:
    """Return one entry per contrast, with the given intervals and adjusted p-values."""
    columns: Sequence[Array] = (
        effects.estimate,
        effects.std_error,
        effects.df,
        *interval,
        effects.p_value,
        adjusted,
    )
    return [AdjustedEffect(*map(float, values)) for values in zip(*columns, strict=True)]
