"""Plans from a pilot: power, the uncertainty of the plan, interim looks, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.cli import main
from winnow.comparison import VarianceComponents, compute_power
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.early_stopping import simulate_early_stopping
from winnow.comparison.pilot_plan import PilotPlanner
from winnow.comparison.pilot_variance import estimate_pilot_terms, predict_power
from winnow.comparison.variance_components import FactorComponents

ITEMS = 24
TRUE = VarianceComponents(seed_a=0.06, seed_b=0.0, item=0.2, error_a=0.02, error_b=0.0, items=ITEMS)


def draw_pilot(rng: np.random.Generator, seeds: int) -> CrossedScores:
    difference = rng.normal(0, np.sqrt(TRUE.item), ITEMS) + rng.normal(0, np.sqrt(TRUE.seed_a), (seeds, 1))
    scores = difference + rng.normal(0, np.sqrt(TRUE.error_a), (seeds, ITEMS))
    return CrossedScores("a", "b", scores, np.zeros((seeds, ITEMS)), np.ones(ITEMS), blocked=True)


def test_the_power_of_exact_components_is_the_power_of_the_power_analysis() -> None:
    crossed = VarianceComponents(
        0.05,
        0.02,
        0.1,
        0.2,
        0.1,
        96,
        (FactorComponents("template", 24, 0.3, 0.01, 0.02), FactorComponents("p", 4, 0.02, 0, 0)),
    )
    for components in (TRUE, crossed):
        powers = predict_power([components] * 2, 0.4, 8)
        assert powers == pytest.approx([compute_power(components, 0.4, 8)] * 2, abs=1e-6)


def test_a_third_arm_doubles_the_degrees_of_freedom_of_two_pairs() -> None:
    crossed = draw_pilot(np.random.default_rng(0), 2)
    first, second = crossed.seed_means
    pairs = estimate_pilot_terms(crossed, np.stack([first, second]))[0]
    pooled = estimate_pilot_terms(crossed, np.stack([first, second, first]))[0]
    assert (pairs.df, pooled.df) == (1, 2)
    # The third arm equals the first, so two of the three pairs vary and one does not.
    assert pooled.value == pytest.approx(2 / 3 * float(pairs.value))


def test_most_plans_reach_the_planned_power() -> None:
    rng, errors, sizes = np.random.default_rng(3), [], []
    for _ in range(40):
        recommended = PilotPlanner(draw_pilot(rng, 3), None, 0.4, draws=60).recommend((5, 8, 15, 40, 100))
        assert recommended is not None
        levels = {"items": recommended.levels["items"]}
        errors.append(compute_power(TRUE, 0.4, recommended.seeds, levels=levels) - recommended.power)
        sizes.append(recommended.seeds)
    assert abs(np.median(errors)) < 0.1
    assert np.mean(np.array(errors) > -0.1) >= 0.75
    assert len(set(sizes)) > 2


def test_early_stopping_saves_seeds_and_keeps_the_level() -> None:
    result = simulate_early_stopping([TRUE] * 300, 0.5, (5, 10, 20))
    assert result.expected_seeds < 12 < result.expected_seeds_without_effect
    assert sum(result.stopped) == pytest.approx(1)
    assert simulate_early_stopping([TRUE] * 300, 0.0, (5, 10, 20)).power <= 0.06
    assert simulate_early_stopping([TRUE] * 300, 0.5, (20,)).power == pytest.approx(
        compute_power(TRUE, 0.5, 20), abs=0.05
    )


def test_the_command_plans_from_a_study_in_the_store(
    planted_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planted_store.build("small_pilot", seeds=(1, 2, 3), templates=True)
    arguments = ["plan", "study=small_pilot", "difference=2", "looks=[5,10]", f"tracking.uri={planted_store.uri}"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "Plan for nike_positive - full, from 3 seeds per arm of small_pilot." in printed
    assert "With looks after 5, 10 seeds, the study needs" in printed
    plan = json.loads((tmp_path / "outputs/small_pilot/plan/plan.json").read_text())
    assert plan["endpoints"][0]["plan"]["recommended"]["power"] >= 0.8
    assert plan["endpoints"][0]["plan"]["levels"] == {"template": 8, "product": 5}
    assert (tmp_path / "outputs/small_pilot/plan/plan.png").stat().st_size > 10_000


def test_a_study_with_one_seed_is_no_pilot(
    planted_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    planted_store.build("single_seed", seeds=(1,))
    assert main(["plan", "study=single_seed", f"tracking.uri={planted_store.uri}"]) == 1
    assert "has only one finished seed" in capsys.readouterr().err
