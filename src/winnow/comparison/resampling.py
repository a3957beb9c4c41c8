"""Two sensitivity checks of a contrast: a bootstrap interval and a permutation test."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.comparison.crossed_design import Array, Crossed, cross
from winnow.comparison.statistics import check_confidence

if TYPE_CHECKING:
    import pandas as pd


def bootstrap_interval(
    scores: pd.DataFrame,
    a: str,
    b: str,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    blocked: bool = False,
) -> tuple[float, float]:
    """Return the percentile interval of the difference, with seeds and the levels of item factors resampled.

    An item counts as often as the product of its levels' counts (the pigeonhole bootstrap of Owen 2007, Annals of
    Applied Statistics 1:386). Blocked seeds are resampled as pairs. A sensitivity check only: with 5 seeds a 95%
    interval covers about 0.90.
    """
    check_confidence(confidence)
    crossed, rng = cross(scores, a, b, blocked), np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        counts = _item_counts(crossed, rng)
        seeds = [rng.integers(len(side), size=len(side)) for side in (crossed.scores_a, crossed.scores_b)]
        if blocked:
            seeds[1] = seeds[0]
        sides = zip((crossed.scores_a, crossed.scores_b), seeds, strict=True)
        means = [(side @ counts)[chosen].mean() for side, chosen in sides]
        drawn[i] = (means[0] - means[1]) / counts.sum()
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _item_counts(crossed: Crossed, rng: np.random.Generator) -> Array:
    """Return the weight of each item in one resample; a resample without any item is drawn again."""
    while True:
        counts = crossed.weights
        for factor in crossed.structure.factors:
            times = np.bincount(rng.integers(factor.levels, size=factor.levels), minlength=factor.levels)
            counts = counts * times[factor.codes]
        if counts.any():
            return counts


def permutation_p(
    scores: pd.DataFrame, a: str, b: str, resamples: int = 10_000, seed: int = 0, blocked: bool = False
) -> float:
    """Return the two-sided permutation p of the difference of seed means.

    A sensitivity check: it takes the items as given. Seeds are permuted between the arms, or within their pairs if
    they are blocks. Exact if there are at most ``resamples`` permutations (0.0079 is the smallest p at 5 against 5,
    0.0625 for 5 pairs), else random ones with the observed one counted (Phipson and Smyth 2010, Statistical
    Applications in Genetics and Molecular Biology 9:39).
    """
    crossed, rng = cross(scores, a, b, blocked), np.random.default_rng(seed)
    means = crossed.seed_means
    found = _of_pairs(means[0] - means[1], resamples, rng) if blocked else _between_arms(*means, resamples, rng)
    differences, exact = found
    observed = abs(means[0].mean() - means[1].mean())
    extreme = int((np.abs(differences) >= observed * (1 - 1e-12) - 1e-15).sum())
    return extreme / len(differences) if exact else (extreme + 1) / (len(differences) + 1)


def _between_arms(a: Array, b: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, bool]:
    pool, n_a = np.concatenate([a, b]), a.size
    exact = math.comb(pool.size, n_a) <= resamples
    deals: Iterable[Any] = (
        combinations(range(pool.size), n_a) if exact else (rng.permutation(pool.size)[:n_a] for _ in range(resamples))
    )
    chosen = pool[np.array(list(deals))].sum(axis=1)
    return chosen / n_a - (pool.sum() - chosen) / (pool.size - n_a), exact


def _of_pairs(differences: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, bool]:
    exact = 2**differences.size <= resamples
    signs = (
        np.array(list(product((1, -1), repeat=differences.size)))
        if exact
        else rng.choice((1, -1), (resamples, differences.size))
    )
    return signs @ differences / differences.size, exact
