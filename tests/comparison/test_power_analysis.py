"""Variance components, power and the number of seeds, each against a simulation or a known special case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from winnow.comparison import Components, components, contrast, power, seeds_needed
from winnow.comparison.crossed_design import Crossed
from winnow.comparison.variance_components import crossed_components
from winnow.errors import WinnowError

TRUE = Components(seed_a=0.16, seed_b=0.04, item=0.09, error_a=0.25, error_b=0.09, items=24)


def drawn(rng: np.random.Generator, seeds: int, effect: float = 0.0) -> Crossed:
    sides = [
        shift
        + rng.normal(0, np.sqrt(TRUE.item / 2), TRUE.items)
        + rng.normal(0, np.sqrt(seed), (seeds, 1))
        + rng.normal(0, np.sqrt(error), (seeds, TRUE.items))
        for shift, seed, error in ((effect, TRUE.seed_a, TRUE.error_a), (0.0, TRUE.seed_b, TRUE.error_b))
    ]
    return Crossed("a", "b", *sides, np.ones(TRUE.items))


def test_components_are_found_again() -> None:
    rng = np.random.default_rng(0)
    found = [crossed_components(drawn(rng, 30)) for _ in range(60)]
    for name in ("seed_a", "seed_b", "item", "error_a", "error_b"):
        assert np.mean([getattr(one, name) for one in found]) == pytest.approx(getattr(TRUE, name), rel=0.12)


def test_the_expected_terms_are_those_of_the_contrast() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        [
            (arm, seed, item, score)
            for arm, side in zip("ab", (drawn(rng, 6).scores_a, drawn(rng, 6).scores_b), strict=True)
            for (seed, item), score in np.ndenumerate(side)
        ],
        columns=["arm", "seed", "item", "score"],
    )
    found, made = components(frame, "a", "b"), contrast(frame, "a", "b")
    assert sum(term.value for term in found.terms(6)) == pytest.approx(made.std_error**2)


def test_one_item_and_equal_variances_is_the_two_sample_t_test() -> None:
    found = Components(1.0, 1.0, 0.0, 0.0, 0.0, items=1)
    chance = stats.nct.sf(stats.t.ppf(0.975, 18), 18, 1.0 / np.sqrt(0.2))  # textbook: n = 10, d = 1
    assert power(found, 1.0, 10) == pytest.approx(chance, abs=1e-4)
    assert seeds_needed(found, 1.0) == 17  # Cohen 1988, table 2.4.1
    assert power(found, 0.0, 10) == pytest.approx(0.05)


@pytest.mark.parametrize("seeds", [5, 10])
def test_planned_power_is_what_a_simulation_finds(seeds: int) -> None:
    from winnow.comparison.statistics import crossed_contrast

    rng = np.random.default_rng(2)
    hits = np.mean([crossed_contrast(drawn(rng, seeds, effect=0.6)).p_value <= 0.05 for _ in range(600)])
    assert hits == pytest.approx(power(TRUE, 0.6, seeds), abs=0.06)


def test_the_plan_is_the_smallest_that_does() -> None:
    needed = seeds_needed(TRUE, 0.5)
    assert needed is not None
    assert power(TRUE, 0.5, needed) >= 0.8 > power(TRUE, 0.5, needed - 1)
    assert seeds_needed(TRUE, -0.5) == needed


def test_too_few_prompts_are_told_from_too_few_seeds() -> None:
    assert seeds_needed(TRUE, 0.1) is None
    assert power(TRUE, 0.1, 1000, items=2000) > 0.8


def test_a_plan_needs_a_size_and_a_chance() -> None:
    with pytest.raises(WinnowError, match="size of a difference"):
        seeds_needed(TRUE, 0.0)
    with pytest.raises(WinnowError, match="between 0 and 1"):
        seeds_needed(TRUE, 1.0, chance=80)
