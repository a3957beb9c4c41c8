"""Intervals and tests for arms that were trained over several seeds and scored on the same items.

Everything here works on any table with the columns ``arm``, ``seed``, ``item`` and ``score``, and optionally
``weight`` and the columns ``factor:NAME`` and ``cluster:NAME`` of :func:`winnow.comparison.crossed_design.cross`. An
item is a prompt or a held-out row. Items are crossed with arms: every seed of every arm scored the same ones. Seeds
are nested in arms, or blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from winnow.comparison.crossed_design import Array, Crossed, cross
from winnow.comparison.variance_terms import SEEDS, Term, combined, variance_terms
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one number per seed, with the t interval of the mean."""

    n: int
    mean: float
    std: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Contrast:
    """The difference of two arms' means, with what is known about it.

    Attributes:
        a: The arm whose mean counts positively.
        b: The other arm.
        difference: ``mean of a - mean of b``.
        ci_low: Lower end of the interval; ``nan`` if no spread could be estimated.
        ci_high: Its upper end.
        p_value: Two-sided p value, likewise.
        std_error: Standard error of the difference.
        df: Satterthwaite's degrees of freedom.
        n_a: Seeds of arm a.
        n_b: Seeds of arm b.
        items: Prompts or rows.
        items_left_out: Items that too few seeds scored.
        hedges_g: Effect size over the seed means.
        parts: The parts of the variance of ``difference``: ``seeds``, each factor of the items (``items`` if they are
            independent), and ``overlap``, which is subtracted.
        rule: Which part made ``std_error``: ``all`` or one of the parts alone.
        levels: The number of levels of each random factor.
        fixed: The number of levels of each factor that is fixed because it has too few.
        blocked: Whether seeds are blocks.
        missing: Filled cells of the seeds x items tables.
        seeds_left_out: Seeds without scores or partner, by name.
        assumed_independent: Whether items count as independent because nothing is known about their structure.
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
    parts: dict[str, float]
    rule: str
    levels: Mapping[str, int] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    blocked: bool = False
    missing: int = 0
    seeds_left_out: tuple[str, ...] = ()
    assumed_independent: bool = False

    def within(self, margin: float) -> bool:
        """Tell whether the whole interval lies within ``margin`` on either side of 0.

        It is the two one-sided tests of equivalence, read off the interval that is shown (Schuirmann 1987, Journal of
        Pharmacokinetics and Biopharmaceutics 15:657). With a 95% interval each of them is at 2.5%.
        """
        return -margin < self.ci_low and self.ci_high < margin


def summarise(values: Sequence[float] | Array, confidence: float = 0.95) -> Summary:
    """Return n, mean, standard deviation (ddof 1) and the t interval of the mean.

    With a single value the deviation and the interval are ``nan``: one seed says nothing about other seeds.
    """
    from scipy.stats import t

    check_confidence(confidence)
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise WinnowError("There are no values to summarise; give at least one.")
    mean = float(x.mean())
    if x.size == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    std = float(x.std(ddof=1))
    half = float(t.ppf(0.5 + confidence / 2, x.size - 1)) * std / math.sqrt(x.size)
    return Summary(int(x.size), mean, std, mean - half, mean + half)


def check_confidence(confidence: float) -> None:
    """Raise if the coverage of an interval is not a share.

    Raises:
        WinnowError: It is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        fix = f" Use {confidence / 100:g}." if 1 < confidence < 100 else ""
        raise WinnowError(f"confidence: expected a number between 0 and 1, got {confidence:g}.{fix}", key="confidence")


def contrast(scores: pd.DataFrame, a: str, b: str, confidence: float = 0.95, blocked: bool = False) -> Contrast:
    """Estimate ``mean of a - mean of b`` for new seeds and new items, by one procedure for interval and p.

    Every effect but that of the arm is random: of seeds, of each factor of the items (such as template and slot
    filling, which are crossed, or a cluster of rows), and all their interactions. With T and J levels of two factors,
    n seeds per arm, and mean squares written as the variance of a mean (MS / size),

        Var(D) = S  +  T + J - TJ  -  sum over arms (ST + SJ - STJ)

    ``S`` is the variance of the seed means over n, added over the arms. ``T`` and ``J`` are the variances over the
    levels of the arms' difference, over the number of levels; ``TJ`` is the mean square of what an additive fit leaves,
    over the number of items. ``ST``, ``SJ`` and ``STJ`` are the same quantities for the deviations of single seeds,
    which ``S``, ``T`` and ``J`` contain twice. With one factor ``J`` terms vanish: independent items are a factor of
    which each item is a level. With K crossed factors what they share is subtracted K - 1 times, which is exact for
    K <= 2 and conservative beyond. If seeds are blocks, the differences of the pairs are the one sample of seeds; that
    is valid whatever the correlation of runs with equal seeds.

    D / sqrt(Var(D)) is referred to Student's t with Satterthwaite's degrees of freedom, ``(sum c_i M_i)^2 / sum (c_i
    M_i)^2 / f_i`` over the mean squares M_i with their own f_i. Seed variances may differ between arms.

    Lower bound: Var(D) is at least S, T and J alone. If the sum is smaller (a variance component came out negative),
    the largest of them is used with its own degrees of freedom. With one item the procedure is Welch's t test.

    With weights w (mean 1 over items) means are weighted and deviations enter as ``w * deviation``, the
    linearised variance of a ratio (Cochran 1977, section 6.3). A cell without a score is filled by an additive fit of
    seed and item, and its degree of freedom is taken off (Yates 1933). Levels of unequal weight enter by the sums of
    their contributions.

    Sources: Satterthwaite 1946 (Biometrics Bulletin 2:110); Welch 1947 (Biometrika 34:28); Searle, Casella and
    McCulloch 1992, Variance Components, chapter 4; Gaylor and Hopper 1969 (Technometrics 11:691) on differences;
    Cameron, Gelbach and Miller 2011 (Journal of Business and Economic Statistics 29:238) on several clusterings.

    Args:
        scores: The table; see :func:`winnow.comparison.crossed_design.cross`.
        a: Arm whose mean counts positively.
        b: Arm it is compared with.
        confidence: Coverage of the interval, between 0 and 1.
        blocked: Whether equal seeds of the arms are pairs.

    Raises:
        WinnowError: An arm is absent, has fewer than 2 seeds, the arms share no item, a weight is not positive, or the
            confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    return crossed_contrast(cross(scores, a, b, blocked), confidence)


def crossed_contrast(crossed: Crossed, confidence: float = 0.95) -> Contrast:
    """Return the contrast of :func:`contrast` from matrices that are laid out already."""
    from scipy.stats import t

    seed_means, structure = crossed.seed_means, crossed.structure
    difference = float(seed_means[0].mean() - seed_means[1].mean())
    terms = variance_terms(crossed)
    spread = combined(terms)
    variance = float(spread.variance)
    std_error, df, low, high, p = math.sqrt(variance), math.nan, math.nan, math.nan, math.nan
    if variance > np.finfo(np.float64).eps * np.square(np.concatenate(seed_means)).max():
        df = float(spread.df)
        half = float(t.ppf(0.5 + confidence / 2, df)) * std_error
        low, high = difference - half, difference + half
        p = float(2 * t.sf(abs(difference) / std_error, df))
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
        _parts(terms),
        spread.rules[int(spread.rule)],
        levels={factor.name: factor.levels for factor in structure.factors},
        fixed=structure.fixed,
        blocked=crossed.blocked,
        missing=sum(crossed.missing),
        seeds_left_out=crossed.seeds_left_out,
        assumed_independent=structure.assumed_independent,
    )


def _parts(terms: Sequence[Term]) -> dict[str, float]:
    parts = {SEEDS: 0.0}
    for term in terms:
        name, sign = (term.source, 1) if term.is_main else ("overlap", -1)
        parts[name] = parts.get(name, 0.0) + sign * float(term.value)
    return parts


def hedges_g(a: Array, b: Array) -> float:
    """Return the difference of two groups' means in pooled standard deviations, corrected for small samples.

    Hedges 1981 (Journal of Educational Statistics 6:107); ``nan`` where neither group varies.
    """
    df = a.size + b.size - 2
    pooled = math.sqrt(((a.size - 1) * float(a.var(ddof=1)) + (b.size - 1) * float(b.var(ddof=1))) / df)
    return float(a.mean() - b.mean()) / pooled * (1 - 3 / (4 * df - 1)) if pooled > 0 else math.nan


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p values, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, made monotone and capped at 1. A ``nan`` stays ``nan``
    and still counts in m: a test that was declared but could not be made does not make the others easier.
    Holm 1979, Scandinavian Journal of Statistics 6:65.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))
    adjusted, running = list(map(float, p_values)), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(p_values[i]):
            running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
            adjusted[i] = running
    return adjusted
