"""Select a level of a factor on validation scores and report test scores without a bias from the selection.

The runs that are selected have the same seed effects in their validation scores and in their test scores. A contrast
between the selected levels, tested as if the levels had been fixed in advance, therefore rejects too often. Two valid
procedures are available:

- *Selected*: each seed is a complete search. The run with the best validation score of each arm and seed is reported,
  so the seeds remain independent replicates of search and training (:func:`select_level_per_seed`).
- *Fresh seeds*: the level is selected with some seeds, and other seeds are reported (:func:`compare_selected_levels`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.arm_estimates import ArmEstimates
from winnow.errors import WinnowError

Array = NDArray[np.float64]


def select_level(validation: Array, higher_is_better: bool = True) -> int:
    """Return the index of the level with the best mean validation score over seeds.

    Args:
        validation: Validation scores with shape (levels, seeds). A level with a missing score is not selected.
        higher_is_better: Whether a larger score is better.

    Raises:
        WinnowError: If every level has a missing score (key ``validation``).
    """
    return int(_find_best(np.asarray(validation, dtype=np.float64).mean(axis=1), higher_is_better))


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
    return _find_best(np.asarray(validation, dtype=np.float64), higher_is_better)


def take_selected(scores: Array, levels: NDArray[np.int64]) -> Array:
    """Return the test scores of the selected run of each seed, with shape (seeds, items).

    Args:
        scores: Test scores with shape (levels, seeds, items).
        levels: The selected level of each seed.
    """
    selected: Array = scores[levels, np.arange(scores.shape[1])]
    return selected


def _find_best(scores: Array, higher_is_better: bool) -> NDArray[np.int64]:
    worst = -np.inf if higher_is_better else np.inf
    filled = np.where(np.isfinite(scores), scores, worst)
    if np.isinf(filled).all(axis=0).any():
        raise WinnowError("expected at least one finite score to select from, got none. Train again.", "validation")
    best: NDArray[np.int64] = (filled.argmax(axis=0) if higher_is_better else filled.argmin(axis=0)).astype(np.int64)
    return best


def compare_selected_levels(
    estimates: ArmEstimates,
    filter_arms: Sequence[str],
    baseline_arms: Sequence[str],
    selected: tuple[str, str],
    higher_is_better: bool = True,
) -> tuple[float, float]:
    """Compare the filter with the baseline after the level of each has been selected with other seeds.

    The filter is better if it is better at its selected level than the baseline at every level. It is worse if the
    baseline is better at its selected level than the filter at every level. Each claim requires all of its
    comparisons, so they need no adjustment (Berger 1982, Technometrics 24:295). A test of the two selected levels
    alone would reject too often if the levels differ but the filter has no effect, because different levels may then be
    selected.

    Args:
        estimates: The estimates of all arms from fresh seeds. Each combination of an arm and a level is one arm.
        filter_arms: The arms of the filter, one per level.
        baseline_arms: The arms of the baseline, one per level.
        selected: The selected arm of the filter and the selected arm of the baseline.
        higher_is_better: Whether a larger score is better.

    Returns:
        The estimated difference between the selected arms, and the two-sided p-value; ``nan`` if a variance cannot be
        estimated.
    """
    best_filter, best_baseline = selected
    sign = 1.0 if higher_is_better else -1.0
    p_better = _find_largest_p(estimates, [{best_filter: sign, arm: -sign} for arm in baseline_arms])
    p_worse = _find_largest_p(estimates, [{best_baseline: sign, arm: -sign} for arm in filter_arms])
    index = estimates.arms.index
    difference = float(estimates.means[index(best_filter)] - estimates.means[index(best_baseline)])
    return difference, min(1.0, 2 * min(p_better, p_worse))


def _find_largest_p(estimates: ArmEstimates, contrasts: Sequence[dict[str, float]]) -> float:
    p_values = estimates.estimate(estimates.build_coefficients(contrasts)).p_positive
    return math.nan if np.isnan(p_values).any() else float(p_values.max())


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
