"""Intervals and tests for arms that were trained over several seeds and scored on the same items.

Everything here works on any table with the columns ``arm``, ``seed``, ``item`` and ``score`` (and, where
items count differently, ``weight``). An item is a prompt or a held-out row. Seeds are nested in arms: seed 3
of one arm shares nothing with seed 3 of another. Items are crossed with arms: every seed of every arm scored
the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from winnow.comparison.crossed_design import Array, Crossed, cross
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

    ``parts`` holds the terms of the variance of ``difference``: ``seeds``, ``items`` and ``overlap`` (which
    is taken off); ``rule`` says which of them made ``std_error``: ``all``, ``seeds`` or ``items``. Interval
    and p are ``nan`` where no spread could be estimated.
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

    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise WinnowError("There are no values to summarise; give at least one.")
    mean = float(x.mean())
    if x.size == 1:
        return Summary(1, mean, math.nan, math.nan, math.nan)
    std = float(x.std(ddof=1))
    half = float(t.ppf(0.5 + confidence / 2, x.size - 1)) * std / math.sqrt(x.size)
    return Summary(int(x.size), mean, std, mean - half, mean + half)


def contrast(scores: pd.DataFrame, a: str, b: str, confidence: float = 0.95) -> Contrast:
    """Estimate ``mean of a - mean of b`` for new seeds and new items, by one procedure for interval and p.

    The model is ``score = arm + item + arm:item + seed(arm) + error``, all but the arm random. Then

        D      = mean_a - mean_b
        Var(D) = S2_a / n_a + S2_b / n_b  +  S2_d / P  -  (s2_a / n_a + s2_b / n_b) / P

    where ``S2_a`` is the variance of arm a's seed means, ``S2_d`` the variance over the P items of the
    difference of the arms' item means, and ``s2_a`` the seed:item mean square within arm a. The first two
    terms and the third each contain the error once, so it is taken off once. Seed variances may differ
    between arms. D / sqrt(Var(D)) is referred to Student's t with Satterthwaite's degrees of freedom, ``(sum
    c_i M_i)^2 / sum (c_i M_i)^2 / f_i`` over the mean squares M_i with their own f_i.

    Guard: Var(D) can be no smaller than its seed part or its item part alone. Where the estimate is smaller
    (a variance component came out negative), the larger of the two stands for it, with its own degrees of
    freedom. With one item only seeds vary and the procedure is Welch's t test.

    With weights w (mean 1 over items) means are weighted and deviations enter as ``w * deviation``, the
    linearised variance of a ratio (Cochran 1977, section 6.3). Items that some seed did not score are left
    out and counted.

    Sources: Satterthwaite 1946 (Biometrics Bulletin 2:110); Welch 1947 (Biometrika 34:28); Searle, Casella
    and McCulloch 1992, Variance Components, chapter 4; Gaylor and Hopper 1969 (Technometrics 11:691) on
    differences.

    Args:
        scores: Columns ``arm``, ``seed``, ``item``, ``score`` and optionally ``weight`` (per item, the same
            for all).
        a: Arm whose mean counts positively.
        b: Arm it is compared with.
        confidence: Coverage of the interval, between 0 and 1.

    Raises:
        WinnowError: An arm is absent, has fewer than 2 seeds, or the arms share no item.
    """
    return crossed_contrast(cross(scores, a, b), confidence)


def crossed_contrast(crossed: Crossed, confidence: float = 0.95) -> Contrast:
    """Make the contrast of :func:`contrast` from matrices that are laid out already."""
    from scipy.stats import t

    items = crossed.weights.size
    seed_means = crossed.seed_means
    difference = float(seed_means[0].mean() - seed_means[1].mean())
    seeds, by_item, overlap = variance_terms(crossed)
    parts = {
        name: sum(v for v, _ in terms) for name, terms in (("seeds", seeds), ("items", by_item), ("overlap", overlap))
    }
    estimates = {
        "all": (parts["seeds"] + parts["items"] - parts["overlap"], [*seeds, *by_item, *overlap]),
        "seeds": (parts["seeds"], seeds),
        "items": (parts["items"], by_item),
    }
    rule = max(estimates, key=lambda name: estimates[name][0]) if items > 1 else "seeds"
    variance, terms = estimates[rule]
    std_error, df, low, high, p = math.sqrt(variance), math.nan, math.nan, math.nan, math.nan
    if variance > np.finfo(np.float64).eps * np.square(np.concatenate(seed_means)).max():
        df = variance**2 / sum(v**2 / f for v, f in terms)
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
        items,
        crossed.items_left_out,
        hedges_g(*seed_means),
        parts,
        rule,
    )


Term = tuple[float, int]
"""A term of Var(difference), and its degrees of freedom."""


def variance_terms(crossed: Crossed) -> tuple[list[Term], list[Term], list[Term]]:
    """Return the terms of Var(difference) as :func:`contrast` names them: seeds, items, and what both contain."""
    w, items, means = crossed.weights, crossed.weights.size, crossed.seed_means
    sides = (crossed.scores_a, crossed.scores_b)
    seeds = [(float(m.var(ddof=1)) / m.size, m.size - 1) for m in means]
    if items == 1:
        return seeds, [(0.0, 1)], [(0.0, 1), (0.0, 1)]
    difference = means[0].mean() - means[1].mean()
    deviations = w * (sides[0].mean(axis=0) - sides[1].mean(axis=0) - difference)
    by_item = [(float(deviations @ deviations) / (items - 1) / items, items - 1)]
    return seeds, by_item, [_error_term(side, w, m) for side, m in zip(sides, means, strict=True)]


def _error_term(scores: Array, w: Array, seed_means: Array) -> Term:
    """Return the seed:item mean square within one arm, as a term of Var(D), and its degrees of freedom."""
    n, items = scores.shape
    residual = w * (scores - scores.mean(axis=0) - (seed_means - seed_means.mean())[:, None])
    df = (n - 1) * (items - 1)
    return float(np.square(residual).sum()) / df / n / items, df


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
