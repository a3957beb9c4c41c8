"""Select a level of a factor on validation scores, and estimate the expected score of the best of several runs.

Each seed is a complete search: for each arm and seed, the run with the best validation score is reported. The seeds
remain independent replicates of search and training, so contrasts of the selected runs include the variance of the
selection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from winnow.errors import WinnowError

Array = NDArray[np.float64]


def select_level_per_seed(validation: Array, higher_is_better: bool = True) -> NDArray[np.int64]:
    """Return, for each seed, the index of the level whose run has the best validation score.

    The reported scores of a seed are those of the selected run. In the contrast of two arms that are reported in this
    way, the variance between seeds includes the variance of the selection, so its test and interval are valid for the
    expected result of training one run per level and keeping the best one.

    Args:
        validation: Validation scores with shape (levels, seeds). A run with a missing score is not selected.
        higher_is_better: Whether a larger score is better.

    Raises:
        WinnowError: If a seed has no validation score (key ``validation``).
    """
    scores = np.asarray(validation, dtype=np.float64)
    filled = np.where(np.isfinite(scores), scores, -np.inf if higher_is_better else np.inf)
    if np.isinf(filled).all(axis=0).any():
        raise WinnowError("expected at least one finite score to select from, got none. Train again.", "validation")
    best: NDArray[np.int64] = (filled.argmax(axis=0) if higher_is_better else filled.argmin(axis=0)).astype(np.int64)
    return best


def expect_best(
    validation: Sequence[float] | Array, test: Sequence[float] | Array | None = None, higher_is_better: bool = True
) -> Array:
    """Estimate the expected score of the best of n training runs, for every n up to the number of runs.

    The best run is the one with the best validation score. The estimator is the mean over all subsets of n runs,
    which is unbiased. Drawing the runs with replacement is biased (Tang, Lee, Xin, Liu, Yu and Lin 2020, Showing Your
    Work Doesn't Always Work, ACL).

    Args:
        validation: The validation score of each run. Runs without a finite score are excluded.
        test: The test score of each run, which is reported for the selected run; by default, the validation score.
        higher_is_better: Whether a larger score is better.

    Returns:
        The expected scores for 1, 2, ..., runs.

    >>> expect_best([0.1, 0.3, 0.2]).round(4).tolist()
    [0.2, 0.2667, 0.3]
    """
    scores = np.asarray(validation, dtype=np.float64)
    reported = scores if test is None else np.asarray(test, dtype=np.float64)
    is_finite = np.isfinite(scores) & np.isfinite(reported)
    scores, reported = scores[is_finite], reported[is_finite]
    ordered = reported[np.argsort(scores if higher_is_better else -scores, kind="stable")]
    count = len(ordered)
    weights = np.array([
        [math.comb(index, runs - 1) / math.comb(count, runs) for index in range(count)]
        for runs in range(1, count + 1)
    ]).reshape(count, count)  # fmt: skip
    expected: Array = weights @ ordered
    return expected
