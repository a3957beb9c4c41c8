"""Selecting a level of a factor on validation scores."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from winnow.comparison.arm_estimates import ArmEstimates, estimate_arms
from winnow.comparison.crossed_design import ArmScores
from winnow.comparison.level_selection import (
    compare_selected_levels,
    expect_best,
    select_level,
    select_level_per_seed,
    take_selected,
)
from winnow.errors import WinnowError


def estimate(*means: float) -> ArmEstimates:
    values = np.random.default_rng(2).normal(0, 1, (len(means), 10)) + np.array(means)[:, None]
    return estimate_arms(ArmScores(tuple("abcd"[: len(means)]), tuple(row[:, None] for row in values), np.ones(1)))


def test_a_level_is_selected_by_its_mean_or_per_seed() -> None:
    validation = np.array([[1.0, 2.0, 9.0], [4.0, 3.0, 4.5], [2.0, np.nan, 8.0]])
    assert select_level(validation) == 0
    assert select_level(validation, higher_is_better=False) == 1
    assert select_level_per_seed(validation).tolist() == [1, 1, 0]
    assert select_level_per_seed(validation, higher_is_better=False).tolist() == [0, 0, 1]
    with pytest.raises(WinnowError, match="at least one finite score"):
        select_level_per_seed(np.full((2, 3), np.nan))


def test_the_scores_of_the_selected_runs_are_reported() -> None:
    scores = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    selected = take_selected(scores, np.array([1, 0, 1]))
    assert selected.tolist() == [scores[1, 0].tolist(), scores[0, 1].tolist(), scores[1, 2].tolist()]


def test_a_selected_filter_must_be_better_than_the_baseline_at_every_level() -> None:
    estimates = estimate(8.0, 5.0, 0.0, 7.9)
    difference, p = compare_selected_levels(estimates, ["a", "b"], ["c", "d"], ("a", "c"))
    expected = estimates.estimate(estimates.build_coefficients([{"a": 1, "d": -1}]))
    assert difference == pytest.approx(estimates.means[0] - estimates.means[2])
    assert p == pytest.approx(min(1.0, 2 * stats.t.sf(expected.statistic[0], expected.df[0])))
    assert p > 0.2
    assert compare_selected_levels(estimate(8.0, 5.0, 0.0, 1.0), ["a", "b"], ["c", "d"], ("a", "c"))[1] < 1e-6
    # The baseline at its selected level is better than the filter at every level. Smaller scores are better.
    worse = compare_selected_levels(estimate(8.0, 5.0, 0.0, 1.0), ["a", "b"], ["c", "d"], ("b", "c"), False)
    assert worse[0] > 0
    assert worse[1] < 1e-6


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_expected_best_is_the_mean_over_all_subsets(higher_is_better: bool) -> None:
    rng = np.random.default_rng(0)
    validation, test = rng.normal(size=6), rng.normal(size=6)
    pick = np.argmax if higher_is_better else np.argmin
    for runs, observed in enumerate(expect_best(validation, test, higher_is_better), start=1):
        subsets = [list(subset) for subset in combinations(range(6), runs)]
        assert observed == pytest.approx(np.mean([test[subset][pick(validation[subset])] for subset in subsets]))
    assert len(expect_best([1.0, np.nan, 2.0])) == 2
    assert len(expect_best([])) == 0
