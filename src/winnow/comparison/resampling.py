"""Sensitivity checks for a contrast: a bootstrap interval and a permutation test."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.comparison.contrast_statistics import check_confidence
from winnow.comparison.crossed_design import Array, CrossedScores, pivot_scores

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
    """Return the percentile bootstrap interval of the difference.

    Seeds and the levels of item factors are resampled. An item's count is the product of the counts of its levels (the
    pigeonhole bootstrap of Owen 2007, Annals of Applied Statistics 1:386). Blocked seeds are resampled as pairs. Use
    the interval as a sensitivity check only: with 5 seeds, the coverage of a 95% interval is about 90%.
    """
    return bootstrap_crossed_scores(pivot_scores(scores, a, b, blocked), confidence, resamples, seed)


def bootstrap_crossed_scores(
    crossed: CrossedScores, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the interval for scores that are already in matrix form; see :func:`bootstrap_interval`."""
    check_confidence(confidence)
    rng, differences = np.random.default_rng(seed), np.empty(resamples)
    for i in range(resamples):
        counts = _resample_item_weights(crossed, rng)
        seeds = [rng.integers(len(scores), size=len(scores)) for scores in (crossed.scores_a, crossed.scores_b)]
        if crossed.blocked:
            seeds[1] = seeds[0]
        samples = zip((crossed.scores_a, crossed.scores_b), seeds, strict=True)
        means = [(scores_of_arm @ counts)[indices].mean() for scores_of_arm, indices in samples]
        differences[i] = (means[0] - means[1]) / counts.sum()
    low, high = np.quantile(differences, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _resample_item_weights(crossed: CrossedScores, rng: np.random.Generator) -> Array:
    """Draw the item weights for one resample. Redraw if all weights are 0."""
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
    """Return the two-sided permutation p-value of the difference of seed means.

    Use the p-value as a sensitivity check only, because the items are treated as fixed. Seeds are permuted between the
    arms, or within pairs if seeds are blocks. The test is exact if there are at most ``resamples`` permutations; the
    smallest possible p-value is 0.0079 for 5 seeds per arm and 0.0625 for 5 pairs. If there are more permutations, a
    random sample of them is drawn, and the observed assignment is added to the sample (Phipson and Smyth 2010,
    Statistical Applications in Genetics and Molecular Biology 9:39).
    """
    return permute_crossed_scores(pivot_scores(scores, a, b, blocked), resamples, seed)


def permute_crossed_scores(crossed: CrossedScores, resamples: int = 10_000, seed: int = 0) -> float:
    """Return the p-value for scores that are already in matrix form; see :func:`permutation_p`."""
    rng, means = np.random.default_rng(seed), crossed.seed_means
    if crossed.blocked:
        differences, exact = _permute_within_pairs(means[0] - means[1], resamples, rng)
    else:
        differences, exact = _permute_between_arms(*means, resamples, rng)
    observed = abs(means[0].mean() - means[1].mean())
    extreme = int((np.abs(differences) >= observed * (1 - 1e-12) - 1e-15).sum())
    return extreme / len(differences) if exact else (extreme + 1) / (len(differences) + 1)


def _permute_between_arms(a: Array, b: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, bool]:
    """Return the differences between permuted arms, and whether all permutations are included."""
    pool, n_a = np.concatenate([a, b]), a.size
    exact = math.comb(pool.size, n_a) <= resamples
    selections: Iterable[Any] = (
        combinations(range(pool.size), n_a) if exact else (rng.permutation(pool.size)[:n_a] for _ in range(resamples))
    )
    sums = pool[np.array(list(selections))].sum(axis=1)
    return sums / n_a - (pool.sum() - sums) / (pool.size - n_a), exact


def _permute_within_pairs(differences: Array, resamples: int, rng: np.random.Generator) -> tuple[Array, bool]:
    """Return the mean differences with permuted signs, and whether all permutations are included."""
    exact = 2**differences.size <= resamples
    signs = (
        np.array(list(product((1, -1), repeat=differences.size)))
        if exact
        else rng.choice((1, -1), (resamples, differences.size))
    )
    return signs @ differences / differences.size, exact
