"""How many seeds a firm answer takes, planned from the variance components of the seeds there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.comparison.crossed_design import Crossed, cross
from winnow.comparison.statistics import variance_terms
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd

MOST_SEEDS = 1000
"""Seeds an arm beyond which a plan is no plan."""


@dataclass(frozen=True)
class Components:
    """The variance components behind the difference of two arms.

    ``seed_a`` and ``seed_b`` are the variances between the seeds of each arm, ``item`` that of the difference of the
    arms from item to item, ``error_a`` and ``error_b`` what is left of a score; all in squared units of the metric.
    """

    seed_a: float
    seed_b: float
    item: float
    error_a: float
    error_b: float
    items: int

    def terms(self, seeds: int, items: int | None = None) -> list[tuple[float, float]]:
        """Return the expected terms of Var(difference) with their degrees of freedom, for a study of that size.

        They are those of :func:`winnow.comparison.contrast`: a seed term an arm, the item term, and the errors that
        both contain, which are taken off.
        """
        n, p = seeds, self.items if items is None else items
        seed_terms = [
            ((seed + error / p) / n, float(n - 1))
            for seed, error in ((self.seed_a, self.error_a), (self.seed_b, self.error_b))
        ]
        if p == 1:
            return seed_terms
        shared = (self.error_a + self.error_b) / n / p
        overlap = [(-error / n / p, float((n - 1) * (p - 1))) for error in (self.error_a, self.error_b)]
        return [*seed_terms, (self.item / p + shared, float(p - 1)), *overlap]


def components(scores: pd.DataFrame, a: str, b: str) -> Components:
    """Return the variance components of two arms' scores by the analysis of variance; none is below 0.

    With mean squares as in :func:`winnow.comparison.contrast`: ``error = s2``, ``seed = S2 - s2 / P`` within each arm,
    ``item = S2_d - s2_a / n_a - s2_b / n_b``. Searle, Casella and McCulloch 1992, Variance Components, chapter 4.

    Args:
        scores: Columns ``arm``, ``seed``, ``item``, ``score`` and optionally ``weight``.
        a: One arm.
        b: The other.
    """
    return crossed_components(cross(scores, a, b))


def crossed_components(crossed: Crossed) -> Components:
    """Return the components of :func:`components` from matrices that are laid out already."""
    items = crossed.weights.size
    sizes = len(crossed.scores_a), len(crossed.scores_b)
    seeds, by_item, overlap = variance_terms(crossed)
    errors = [v * n * items for (v, _), n in zip(overlap, sizes, strict=True)]
    between = [max(0.0, v * n - e / items) for (v, _), n, e in zip(seeds, sizes, errors, strict=True)]
    item = max(0.0, by_item[0][0] * items - sum(e / n for e, n in zip(errors, sizes, strict=True)))
    return Components(between[0], between[1], item, errors[0], errors[1], items)


def power(found: Components, size: float, seeds: int, items: int | None = None, alpha: float = 0.05) -> float:
    """Return the chance that a true difference of ``size`` is found by the two-sided test at level ``alpha``.

    The noncentral t distribution with Satterthwaite's degrees of freedom at the expected mean squares (Johnson, Kotz
    and Balakrishnan 1995, Continuous Univariate Distributions 2, chapter 31).

    Args:
        found: The variance components.
        size: The true difference, in units of the metric.
        seeds: Seeds an arm, at least 2.
        items: Prompts or rows; those of ``found`` where none are given.
        alpha: Level of the test.
    """
    from scipy.stats import nct, t

    terms = found.terms(seeds, items)
    variance = sum(v for v, _ in terms)
    if variance <= 0:
        return 1.0 if size else alpha
    df = variance**2 / sum(v**2 / f for v, f in terms)
    limit, shift = float(t.ppf(1 - alpha / 2, df)), abs(size) / math.sqrt(variance)
    chance = float(nct.sf(limit, df, shift) + nct.cdf(-limit, df, shift))
    return chance if math.isfinite(chance) else float(shift > limit)  # far out in the tail it is 0 or 1


def seeds_needed(found: Components, size: float, chance: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return the fewest seeds an arm that find a true difference of ``size`` with the given chance.

    The prompts or rows stay those there are. Where even ``MOST_SEEDS`` seeds would not do, because the items alone
    leave too much open, the answer is ``None``: it takes more prompts, not more seeds.

    Raises:
        WinnowError: The size is 0, or the chance is not between 0 and 1.
    """
    if not size or not math.isfinite(size):
        raise WinnowError(f"A plan needs the size of a difference, and {size} is none.", key="size")
    if not 0 < chance < 1:
        raise WinnowError(f"The chance must lie between 0 and 1, and {chance} was given.", key="chance")
    few, many = 2, MOST_SEEDS
    if power(found, size, many, alpha=alpha) < chance:
        return None
    while few < many:  # more seeds never make a difference harder to find
        middle = (few + many) // 2
        few, many = (few, middle) if power(found, size, middle, alpha=alpha) >= chance else (middle + 1, many)
    return few


def smallest_difference(found: Components, seeds: int, chance: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that a study of so many seeds an arm finds with the given chance.

    Args:
        found: The variance components; the items stay those there are.
        seeds: Seeds an arm, at least 2.
        chance: Power asked for.
        alpha: Level of the two-sided test.

    Returns:
        The difference in units of the metric, to a thousandth of itself; 0 where nothing varies.
    """
    variance = sum(v for v, _ in found.terms(seeds))
    if variance <= 0:
        return 0.0
    low, high = 0.0, math.sqrt(variance)
    while power(found, high, seeds, alpha=alpha) < chance:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(found, middle, seeds, alpha=alpha) >= chance else (middle, high)
    return high
