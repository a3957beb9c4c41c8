"""Variance components, power and the number of seeds, each against a simulation or a known special case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from winnow.comparison import (
    VarianceComponents,
    compute_power,
    contrast,
    estimate_variance_components,
    levels_needed,
    seeds_needed,
    smallest_detectable_difference,
)
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.power_analysis import compute_t_test_power
from winnow.comparison.variance_components import FactorComponents, estimate_crossed_components
from winnow.errors import WinnowError

TRUE = VarianceComponents(seed_a=0.16, seed_b=0.04, item=0.09, error_a=0.25, error_b=0.09, items=24)


def draw_arms(rng: np.random.Generator, seeds: int, effect: float = 0.0) -> CrossedScores:
    sides = [
        shift
        + rng.normal(0, np.sqrt(TRUE.item / 2), TRUE.items)
        + rng.normal(0, np.sqrt(seed), (seeds, 1))
        + rng.normal(0, np.sqrt(error), (seeds, TRUE.items))
        for shift, seed, error in ((effect, TRUE.seed_a, TRUE.error_a), (0.0, TRUE.seed_b, TRUE.error_b))
    ]
    return CrossedScores("a", "b", *sides, np.ones(TRUE.items))


def test_estimated_components_match_the_simulated_ones() -> None:
    rng = np.random.default_rng(0)
    found = [estimate_crossed_components(draw_arms(rng, 30)) for _ in range(60)]
    for name in ("seed_a", "seed_b", "item", "error_a", "error_b"):
        assert np.mean([getattr(estimate, name) for estimate in found]) == pytest.approx(getattr(TRUE, name), rel=0.12)


def test_the_expected_terms_are_those_of_the_contrast() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        [
            (arm, seed, item, score)
            for arm, side in zip("ab", (draw_arms(rng, 6).scores_a, draw_arms(rng, 6).scores_b), strict=True)
            for (seed, item), score in np.ndenumerate(side)
        ],
        columns=["arm", "seed", "item", "score"],
    )
    components, result = estimate_variance_components(frame, "a", "b"), contrast(frame, "a", "b")
    assert sum(term.value for term in components.terms(6)) == pytest.approx(result.std_error**2)


def test_one_item_and_equal_variances_is_the_two_sample_t_test() -> None:
    found = VarianceComponents(1.0, 1.0, 0.0, 0.0, 0.0, items=1)
    expected = stats.nct.sf(stats.t.ppf(0.975, 18), 18, 1.0 / np.sqrt(0.2))  # textbook: n = 10, d = 1
    assert compute_power(found, 1.0, 10) == pytest.approx(expected, abs=1e-4)
    assert seeds_needed(found, 1.0) == 17  # Cohen 1988, table 2.4.1
    assert compute_power(found, 0.0, 10) == pytest.approx(0.05)


@pytest.mark.parametrize("seeds", [5, 10])
def test_computed_power_matches_a_simulation(seeds: int) -> None:
    rng = np.random.default_rng(2)
    hits = np.mean([contrast_crossed_scores(draw_arms(rng, seeds, effect=0.6)).p_value <= 0.05 for _ in range(600)])
    assert hits == pytest.approx(compute_power(TRUE, 0.6, seeds), abs=0.06)


def test_seeds_needed_is_the_smallest_number_with_enough_power() -> None:
    needed = seeds_needed(TRUE, 0.5)
    assert needed is not None
    assert compute_power(TRUE, 0.5, needed) >= 0.8 > compute_power(TRUE, 0.5, needed - 1)
    assert seeds_needed(TRUE, -0.5) == needed


def test_no_number_of_seeds_is_enough_with_too_few_prompts() -> None:
    assert seeds_needed(TRUE, 0.1) is None
    assert compute_power(TRUE, 0.1, 1000, items=2000) > 0.8


def test_invalid_sizes_and_powers_are_errors() -> None:
    with pytest.raises(WinnowError, match="finite difference that is not 0"):
        seeds_needed(TRUE, 0.0)
    with pytest.raises(WinnowError, match="between 0 and 1"):
        seeds_needed(TRUE, 1.0, target_power=80)


def test_power_is_finite_at_large_shifts() -> None:
    """SciPy's noncentral t returns NaN for shifts above 8, so the reference is a simulation."""
    rng = np.random.default_rng(5)
    for shift, df, alpha in ((8.5, 2, 0.01), (12.0, 1, 0.05)):
        drawn_t = (rng.normal(size=400_000) + shift) / np.sqrt(rng.chisquare(df, 400_000) / df)
        found = float(np.mean(np.abs(drawn_t) > stats.t.ppf(1 - alpha / 2, df)))
        assert compute_t_test_power(shift, df, alpha) == pytest.approx(found, abs=0.004)
    assert compute_t_test_power(2.0, 6, 0.05) == pytest.approx(
        stats.nct.sf(stats.t.ppf(0.975, 6), 6, 2.0) + stats.nct.cdf(-stats.t.ppf(0.975, 6), 6, 2.0), abs=1e-7
    )


def test_infinite_variances_and_a_power_of_1_are_errors() -> None:
    with pytest.raises(WinnowError, match="finite variances"):
        VarianceComponents(np.inf, 0.1, 0.1, 0.1, 0.1, items=5)
    with pytest.raises(WinnowError, match="expected a number between 0 and 1"):
        smallest_detectable_difference(TRUE, 5, target_power=1.0)


STRUCTURED = VarianceComponents(
    0.03, 0.03, 0.012, 0.01, 0.01, 24 * 14,
    (FactorComponents("template", 24, 0.33, 0.015, 0.015), FactorComponents("product", 14, 0.01, 0.002, 0.002)),
)  # fmt: skip


def test_templates_are_planned_if_more_seeds_do_not_help() -> None:
    assert seeds_needed(STRUCTURED, 0.3) is None
    needed = levels_needed(STRUCTURED, 0.3, seeds=10)
    assert needed is not None
    assert needed > 24
    assert compute_power(STRUCTURED, 0.3, 10, levels={"template": needed}) >= 0.8
    assert compute_power(STRUCTURED, 0.3, 10, levels={"template": needed - 1}) < 0.8
    with pytest.raises(WinnowError, match="Did you mean 'template'"):
        levels_needed(STRUCTURED, 0.3, 5, factor="templates")


def test_estimated_components_of_crossed_factors_match_the_simulated_ones() -> None:
    rng, found = np.random.default_rng(6), []
    factors = {"template": np.repeat(range(12), 8).tolist(), "product": (list(range(8)) * 12)}
    for _ in range(150):
        sides = [
            np.repeat(rng.normal(0, 0.5, 12), 8)
            + np.tile(rng.normal(0, 0.3, 8), 12)
            + rng.normal(0, 0.2, 96)
            + rng.normal(0, 0.4, (10, 1))
            + np.repeat(rng.normal(0, 0.3, (10, 12)), 8, axis=1)
            + rng.normal(0, 0.3, (10, 96))
            for _ in "ab"
        ]
        found.append(estimate_crossed_components(CrossedScores("a", "b", *sides, np.ones(96), factors=factors)))
    for name, truth in {"seed_a": 0.16, "item": 2 * 0.04, "error_b": 0.09}.items():
        assert np.mean([getattr(estimate, name) for estimate in found]) == pytest.approx(truth, rel=0.12)
    by_factor = zip(*(estimate.factors for estimate in found), strict=True)
    template, product = (np.mean([[f.between, f.error_a] for f in factors], axis=0) for factors in by_factor)
    assert template == pytest.approx([2 * 0.25, 0.09], rel=0.15)
    assert product[0] == pytest.approx(2 * 0.09, rel=0.15)
