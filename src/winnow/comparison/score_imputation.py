"""Impute missing scores in a seeds x items matrix."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_ITERATIONS = 500


def impute_missing(scores: Array, weights: Array) -> tuple[Array, int]:
    """Replace missing scores by a least-squares fit of seed and item effects.

    An imputed score adds nothing to the residual sum of squares, so the caller must subtract one degree of freedom per
    imputed score (Yates 1933, Empire Journal of Experimental Agriculture 1:129). The iterative algorithm was described
    by Healy and Westmacott (1956, Applied Statistics 5:203).

    Args:
        scores: A seeds x items matrix, with ``nan`` for missing scores. Every seed and every item must have at least
            one score.
        weights: The weights of the items.

    Returns:
        The completed matrix and the number of imputed scores.
    """
    is_missing = np.isnan(scores)
    if not is_missing.any():
        return scores, 0
    imputed = np.where(is_missing, np.nanmean(scores, axis=0), scores)
    observed_scores = scores[~is_missing]
    tolerance = 1e-12 * max(1.0, float(np.abs(observed_scores).max()))
    fractions = weights / weights.sum()
    for _ in range(MAX_ITERATIONS):
        seed_means = (imputed * fractions).sum(axis=1, keepdims=True)
        fit = seed_means + imputed.mean(axis=0) - seed_means.mean()
        change = float(np.abs(fit[is_missing] - imputed[is_missing]).max())
        imputed[is_missing] = fit[is_missing]
        if change < tolerance:
            break
    return imputed, int(is_missing.sum())
