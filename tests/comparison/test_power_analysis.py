"""Variance components, power and the number of seeds, each against a simulation or a known special case."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from winnow.comparison import (
    Components,
    components,
    contrast,
    levels_needed,
    power,
    seeds_needed,
    smallest_difference,
)
from winnow.comparison.crossed_design import Crossed
from winnow.comparison.power_analysis import t_power
from winnow.comparison.statistics import crossed_contrast
from winnow.comparison.variance_components import FactorComponents, crossed_components
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


def test_power_is_a_number_at_large_shifts() -> None:
    """SciPy's noncentral t is NaN from a shift of 8 on; the reference is a simulation."""
    rng = np.random.default_rng(5)
    for shift, df, alpha in ((8.5, 2, 0.01), (12.0, 1, 0.05)):
        drawn_t = (rng.normal(size=400_000) + shift) / np.sqrt(rng.chisquare(df, 400_000) / df)
        found = float(np.mean(np.abs(drawn_t) > stats.t.ppf(1 - alpha / 2, df)))
        assert t_power(shift, df, alpha) == pytest.approx(found, abs=0.004)
    assert t_power(2.0, 6, 0.05) == pytest.approx(
        stats.nct.sf(stats.t.ppf(0.975, 6), 6, 2.0) + stats.nct.cdf(-stats.t.ppf(0.975, 6), 6, 2.0), abs=1e-7
    )


def test_a_plan_that_can_have_no_answer_is_refused() -> None:
    with pytest.raises(WinnowError, match="finite variances"):
        Components(np.inf, 0.1, 0.1, 0.1, 0.1, items=5)
    with pytest.raises(WinnowError, match="chance: expected a number between 0 and 1"):
        smallest_difference(TRUE, 5, chance=1.0)


STRUCTURED = Components(
    0.03, 0.03, 0.012, 0.01, 0.01, 24 * 14,
    (FactorComponents("template", 24, 0.33, 0.015, 0.015), FactorComponents("product", 14, 0.01, 0.002, 0.002)),
)  # fmt: skip


def test_templates_are_planned_where_seeds_do_not_help() -> None:
    assert seeds_needed(STRUCTURED, 0.3) is None
    needed = levels_needed(STRUCTURED, 0.3, seeds=10)
    assert needed is not None
    assert needed > 24
    assert power(STRUCTURED, 0.3, 10, levels={"template": needed}) >= 0.8
    assert power(STRUCTURED, 0.3, 10, levels={"template": needed - 1}) < 0.8
    with pytest.raises(WinnowError, match="Did you mean 'template'"):
        levels_needed(STRUCTURED, 0.3, 5, factor="templates")


def test_components_of_crossed_factors_are_found_again() -> None:
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
        found.append(crossed_components(Crossed("a", "b", *sides, np.ones(96), factors=factors)))
    for name, truth in {"seed_a": 0.16, "item": 2 * 0.04, "error_b": 0.09}.items():
        assert np.mean([getattr(one, name) for one in found]) == pytest.approx(truth, rel=0.12)
    by_factor = zip(*(one.factors for one in found), strict=True)
    template, product = (np.mean([[f.between, f.error_a] for f in factors], axis=0) for factors in by_factor)
    assert template == pytest.approx([2 * 0.25, 0.09], rel=0.15)
    assert product[0] == pytest.approx(2 * 0.09, rel=0.15)
