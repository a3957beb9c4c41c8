"""The test for non-inferiority of the cost, and interim looks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from winnow.comparison import Contrast, InterimLooks, check_non_inferiority, intersection_union
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.errors import WinnowError


def result(difference: float, error: float = 0.02, df: float = 8) -> Contrast:
    half = float(stats.t.ppf(0.975, df)) * error
    p = float(2 * stats.t.sf(abs(difference) / error, df))
    return Contrast(
        "f", "full", difference, difference - half, difference + half, p, error, df, 5, 5, 40, 0, 1.0, {}, "all"
    )


def test_the_bound_is_the_upper_end_of_the_two_sided_interval() -> None:
    found = check_non_inferiority(result(0.0))
    assert found.bound == pytest.approx(result(0.0).ci_high)
    assert found.passed == (found.bound < found.margin)
    assert found.passed
    assert (found.p_value <= found.alpha) == found.passed


def test_a_small_cost_with_a_wide_interval_does_not_pass() -> None:
    found = check_non_inferiority(result(0.01, error=0.03))
    assert not found.passed
    assert not found.exceeded
    assert check_non_inferiority(result(0.2)).exceeded


def test_the_cost_is_a_decrease_if_higher_is_better() -> None:
    assert check_non_inferiority(result(-0.2), higher_is_better=True).exceeded
    assert check_non_inferiority(result(0.2), higher_is_better=True).passed


def test_without_a_variance_the_test_does_not_pass() -> None:
    found = check_non_inferiority(dataclasses.replace(result(0.0), p_value=math.nan, df=math.nan))
    assert not found.passed
    assert math.isnan(found.p_value)


def test_a_cost_as_large_as_the_margin_passes_at_most_at_the_level() -> None:
    rng, passed = np.random.default_rng(0), 0
    for _ in range(800):
        sides = [
            cost + rng.normal(0, 0.03, 24) + rng.normal(0, 0.01, (5, 1)) + rng.normal(0, 0.02, (5, 24))
            for cost in (0.05, 0.0)
        ]
        passed += check_non_inferiority(contrast_crossed_scores(CrossedScores("a", "b", *sides, np.ones(24)))).passed
    assert passed / 800 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 800)


@pytest.mark.parametrize(
    ("margin", "alpha"), [(0.0, 0.025), (-1.0, 0.025), (math.nan, 0.025), (0.05, 0.6), (0.05, 0.0)]
)
def test_invalid_margins_and_levels_are_errors(margin: float, alpha: float) -> None:
    with pytest.raises(WinnowError, match="expected"):
        check_non_inferiority(result(0.0), margin, alpha)


def test_the_largest_p_value_of_all_endpoints_decides() -> None:
    assert intersection_union([0.01, 0.04]) == 0.04
    assert math.isnan(intersection_union([0.01, math.nan]))
    with pytest.raises(WinnowError, match="at least one p-value"):
        intersection_union([])


def test_the_levels_of_all_looks_sum_to_the_level_of_the_study() -> None:
    for seeds in ((5,), (5, 10, 20), (6, 7, 9, 40)):
        looks = InterimLooks(seeds, alpha=0.05)
        assert sum(looks.levels) == pytest.approx(0.05)
        assert looks.get_confidence(seeds[-1]) == pytest.approx(1 - looks.levels[-1])


@pytest.mark.parametrize("seeds", [(), (3, 10), (10, 5), (5, 5)])
def test_looks_that_descend_or_start_below_five_seeds_are_errors(seeds: tuple[int, ...]) -> None:
    with pytest.raises(WinnowError) as caught:
        InterimLooks(seeds)
    assert caught.value.key == "looks"


def test_a_look_that_was_not_declared_has_no_level() -> None:
    with pytest.raises(WinnowError, match="no look is declared after 7 seeds"):
        InterimLooks((5, 10)).get_level(7)
