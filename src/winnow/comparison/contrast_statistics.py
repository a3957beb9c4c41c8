"""Intervals and tests for arms that are trained with several seeds and scored on the same items.

The functions accept any table with the columns ``arm``, ``seed``, ``item`` and ``score``. The columns ``weight``,
``factor:NAME`` and ``cluster:NAME`` are optional; see :func:`winnow.comparison.crossed_design.pivot_scores`. An item is
a prompt or a held-out row. Items are crossed with arms: every run is scored on the same items. Seeds are nested in arms
unless they are treated as blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from winnow.comparison.crossed_design import Array, CrossedScores, pivot_scores
from winnow.comparison.difference_variance import SEEDS, VarianceTerm, combine_terms, compute_variance_terms
from winnow.comparison.distributions import t_cdf, t_quantile
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Summary:
    """Mean and standard deviation of one number per seed, with the t interval of the mean."""

    n: int
    mean: float
    std: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Contrast:
    """The difference of the means of two arms, with its interval, test and variance.

    Attributes:
        a: The first arm.
        b: The second arm.
        difference: ``mean of a - mean of b``.
        ci_low: Lower end of the interval; ``nan`` if the variance cannot be estimated.
        ci_high: Upper end of the interval; ``nan`` if the variance cannot be estimated.
        p_value: Two-sided p-value; ``nan`` if the variance cannot be estimated.
        std_error: Standard error of the difference.
        df: Satterthwaite's degrees of freedom.
        n_a: Number of seeds of arm a.
        n_b: Number of seeds of arm b.
        items: Number of prompts or rows.
        items_left_out: Number of items that were excluded because too few seeds have a score for them.
        hedges_g: Hedges' g of the seed means.
        variance_by_source: The variance of ``difference`` by source: ``seeds``, each item factor (``items`` if the
            items are independent), and ``overlap``. The overlap is variance that several sources include, so it is
            subtracted.
        std_error_source: ``all`` if ``std_error`` combines all sources of variance; otherwise, the name of the only
            source that is used.
        levels: The number of levels of each random factor.
        fixed: The factors that are fixed because they have too few levels, with their numbers of levels.
        blocked: Whether seeds are blocks.
        missing: Number of imputed scores.
        seeds_left_out: The excluded seeds, each described with the reason: too few scores, or no run of the other arm
            with the same seed.
        assumed_independent: Whether items are treated as independent because their structure is not recorded.
    """

    a: str
    b: str
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    std_error: float
    df: float
    n_a: int
    n_b: int
    items: int
    items_left_out: int
    hedges_g: float
    variance_by_source: dict[str, float]
    std_error_source: str
    levels: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    blocked: bool = False
    missing: int = 0
    seeds_left_out: tuple[str, ...] = ()
    assumed_independent: bool = False

    def lies_within(self, margin: float) -> bool:
        """Return whether the interval lies entirely between ``-margin`` and ``margin``.

        This is equivalent to the two one-sided tests of equivalence (Schuirmann 1987, Journal of Pharmacokinetics and
        Biopharmaceutics 15:657). With a 95% interval, the level of each test is 2.5%.
        """
        return -margin < self.ci_low and self.ci_high < margin


def summarize(values: Sequence[float] | Array, confidence: float = 0.95) -> Summary:
    """Summarize values by n, mean, standard deviation (``ddof=1``) and the t interval of the mean.

    For a single value, the standard deviation and the interval are ``nan``.

    Raises:
        WinnowError: If there are no values (key ``values``), or if the confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise WinnowError("expected at least one value, got none. Pass the scores of at least one seed.", key="values")
    mean = float(x.mean())
    if x.size == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    std = float(x.std(ddof=1))
    half_width = t_quantile(0.5 + confidence / 2, x.size - 1) * std / math.sqrt(x.size)
    return Summary(int(x.size), mean, std, mean - half_width, mean + half_width)


def check_confidence(confidence: float) -> None:
    """Check the coverage of an interval.

    Raises:
        WinnowError: If the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        example = confidence / 100 if 1 < confidence < 100 else 0.95
        raise WinnowError(f"expected a number between 0 and 1, got {confidence:g}. Use {example:g}.", key="confidence")


def contrast(scores: pd.DataFrame, a: str, b: str, confidence: float = 0.95, blocked: bool = False) -> Contrast:
    """Estimate the difference ``mean of a - mean of b`` for new seeds and new items, with its interval and test.

    The arm is a fixed effect. All other effects are random: seeds, each factor of the items (crossed factors such as
    template and slot filling, or a cluster of rows), and all their interactions. With T and J levels of two factors,
    n seeds per arm, and mean squares written as the variance of a mean (MS / size),

        Var(D) = S  +  T + J - TJ  -  sum over arms (ST + SJ - STJ)

    ``S`` is the variance of the seed means divided by n, summed over the arms. ``T`` and ``J`` are the variances of the
    difference of the arms over the levels of each factor, divided by the number of levels. ``TJ`` is the residual mean
    square of an additive fit of both factors, divided by the number of items. ``ST``, ``SJ`` and ``STJ`` are the same
    quantities, computed from the deviations of single seeds. ``ST + SJ - STJ`` is subtracted because ``S``, ``T`` and
    ``J`` count this variance twice.

    With one factor, the ``J`` terms vanish. Independent items are a factor with one item per level. With K crossed
    factors, the shared variance is subtracted K - 1 times, which is exact for K <= 2 and conservative for more factors.
    If seeds are blocks, the differences of the pairs form a single sample of seeds, which is valid for any correlation
    between runs with the same seed.

    D / sqrt(Var(D)) is compared with Student's t distribution with Satterthwaite's degrees of freedom,
    ``(sum c_i M_i)^2 / sum (c_i M_i)^2 / f_i``, for mean squares M_i with f_i degrees of freedom. Seed variances may
    differ between arms.

    Lower bound: Var(D) is at least the largest of S, T and J. If the sum is smaller because the estimate of a variance
    component is negative, the largest of the three is used, together with its degrees of freedom. With one item, the
    procedure reduces to Welch's t test.

    With weights w (mean 1 over items), means are weighted, and deviations enter as ``w * deviation``, the linearized
    variance of a ratio (Cochran 1977, section 6.3). A missing score is imputed by an additive fit of seed and item, and
    its degree of freedom is subtracted (Yates 1933). If levels have unequal weights, the sums of their contributions
    are used.

    Sources: Satterthwaite 1946 (Biometrics Bulletin 2:110); Welch 1947 (Biometrika 34:28); Searle, Casella and
    McCulloch 1992, Variance Components, chapter 4; Gaylor and Hopper 1969 (Technometrics 11:691) on differences of mean
    squares; Cameron, Gelbach and Miller 2011 (Journal of Business and Economic Statistics 29:238) on multiway
    clustering.

    Args:
        scores: The table; see :func:`winnow.comparison.crossed_design.pivot_scores`.
        a: The first arm.
        b: The second arm.
        confidence: Coverage of the interval, between 0 and 1.
        blocked: Whether runs of both arms with the same seed form a pair.

    Raises:
        WinnowError: If an arm does not exist or has fewer than 2 seeds, if the arms have no item in common, if a weight
            is not positive, or if the confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    return contrast_crossed_scores(pivot_scores(scores, a, b, blocked), confidence)


def contrast_crossed_scores(crossed: CrossedScores, confidence: float = 0.95) -> Contrast:
    """Compute the contrast of scores that are already in matrix form; see :func:`contrast`."""
    seed_means, structure = crossed.seed_means, crossed.structure
    difference = float(seed_means[0].mean() - seed_means[1].mean())
    terms = compute_variance_terms(crossed)
    combined = combine_terms(terms)
    variance = float(combined.variance)
    std_error, df, low, high, p = math.sqrt(variance), math.nan, math.nan, math.nan, math.nan
    if variance > np.finfo(np.float64).eps * np.square(np.concatenate(seed_means)).max():
        df = float(combined.df)
        half_width = t_quantile(0.5 + confidence / 2, df) * std_error
        low, high = difference - half_width, difference + half_width
        p = 2 * t_cdf(-abs(difference) / std_error, df)
    return Contrast(
        crossed.a,
        crossed.b,
        difference,
        low,
        high,
        p,
        std_error,
        df,
        seed_means[0].size,
        seed_means[1].size,
        crossed.weights.size,
        crossed.items_left_out,
        hedges_g(*seed_means),
        _sum_by_source(terms),
        combined.sources[int(combined.source_index)],
        levels={factor.name: factor.levels for factor in structure.factors},
        fixed=structure.fixed,
        blocked=crossed.blocked,
        missing=sum(crossed.missing),
        seeds_left_out=crossed.seeds_left_out,
        assumed_independent=structure.assumed_independent,
    )


def _sum_by_source(terms: Sequence[VarianceTerm]) -> dict[str, float]:
    sums = {SEEDS: 0.0}
    for term in terms:
        source, sign = (term.source, 1) if term.is_main else ("overlap", -1)
        sums[source] = sums.get(source, 0.0) + sign * float(term.value)
    return sums


def hedges_g(a: Array, b: Array) -> float:
    """Return the standardized mean difference between two groups, with a correction for small samples.

    The difference is divided by the pooled standard deviation (Hedges 1981, Journal of Educational Statistics 6:107).
    The result is ``nan`` if neither group varies.
    """
    df = a.size + b.size - 2
    pooled_std = math.sqrt(((a.size - 1) * float(a.var(ddof=1)) + (b.size - 1) * float(b.var(ddof=1))) / df)
    return float(a.mean() - b.mean()) / pooled_std * (1 - 3 / (4 * df - 1)) if pooled_std > 0 else math.nan


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method, and return the adjusted values in the same order.

    The i-th smallest of m values is multiplied by m - i + 1; the results are made monotone and capped at 1. A ``nan``
    stays ``nan`` but counts toward m, so a declared test that cannot be computed does not weaken the correction (Holm
    1979, Scandinavian Journal of Statistics 6:65).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))
    adjusted_p_values, largest = list(map(float, p_values)), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(p_values[i]):
            largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
            adjusted_p_values[i] = largest
    return adjusted_p_values
