"""Filling the cells of a seeds x items table that no run scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_ROUNDS = 500


def fill_missing(scores: Array, weights: Array) -> tuple[Array, int]:
    """Return a seeds x items table whose missing cells hold their additive fit, and how many these are.

    The fit is the least-squares one of seed and item effects. A filled cell adds nothing to the residual sum of
    squares; its degree of freedom is taken off by the caller. Yates 1933 (Empire Journal of Experimental Agriculture
    1:129); the rounds are Healy and Westmacott's (1956, Applied Statistics 5:203).

    Args:
        scores: Seeds x items, with ``nan`` for a missing cell; every seed and every item has a known cell.
        weights: The items' weights.
    """
    missing = np.isnan(scores)
    if not missing.any():
        return scores, 0
    filled = np.where(missing, np.nanmean(scores, axis=0), scores)
    known = scores[~missing]
    tolerance = 1e-12 * max(1.0, float(np.abs(known).max()))
    share = weights / weights.sum()
    for _ in range(MOST_ROUNDS):
        seed = (filled * share).sum(axis=1, keepdims=True)
        fit = seed + filled.mean(axis=0) - seed.mean()
        change = float(np.abs(fit[missing] - filled[missing]).max())
        filled[missing] = fit[missing]
        if change < tolerance:
            break
    return filled, int(missing.sum())
