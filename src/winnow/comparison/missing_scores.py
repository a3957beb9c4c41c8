"""Impute missing scores in a seeds x items table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MAX_ITERATIONS = 500


def impute_missing(scores: Array, weights: Array) -> tuple[Array, int]:
    """Replace missing scores by a least-squares fit of seed and item effects.

    An imputed score adds nothing to the residual sum of squares, so the caller subtracts its degree of freedom
    (Yates 1933, Empire Journal of Experimental Agriculture 1:129). The iteration is that of Healy and Westmacott (1956,
    Applied Statistics 5:203).

    Args:
        scores: Seeds x items, with ``nan`` for missing scores. Every seed and every item has at least one score.
        weights: The weights of the items.

    Returns:
        The complete table and the number of imputed scores.
    """
    missing = np.isnan(scores)
    if not missing.any():
        return scores, 0
    filled = np.where(missing, np.nanmean(scores, axis=0), scores)
    known = scores[~missing]
    tolerance = 1e-12 * max(1.0, float(np.abs(known).max()))
    fractions = weights / weights.sum()
    for _ in range(MAX_ITERATIONS):
        seed = (filled * fractions).sum(axis=1, keepdims=True)
        fit = seed + filled.mean(axis=0) - seed.mean()
        change = float(np.abs(fit[missing] - filled[missing]).max())
        filled[missing] = fit[missing]
        if change < tolerance:
            break
    return filled, int(missing.sum())
