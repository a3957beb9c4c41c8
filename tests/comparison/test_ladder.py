"""The effect of a filter by training compute, and what it shows about larger models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from winnow.comparison import analyze, collect_study
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.factor_analysis import FilterByFactor, LevelOutcome
from winnow.comparison.ladder import Rung, analyze_ladder, describe_extrapolation
from winnow.reporting.ladder_figure import build_ladder_table, draw_ladder
from winnow.reporting.plot_style import assign_styles

EFFECTS = {
    "1e-2": {"full": 0.0, "nike_positive": 1.0, "random_matched": -0.5},
    "1e-3": {"full": 0.2, "nike_positive": 1.2, "random_matched": 0.7},
    "1e-4": {"full": 0.0, "nike_positive": 1.0, "random_matched": -0.5},
}
FLOPS = {"1e-2": 8e10, "1e-3": 1e10, "1e-4": 4e10}
"""The compute of each level. The smallest one orders the baseline and the control differently from the largest."""


@pytest.fixture(scope="module")
def study(planted_store: Any) -> CollectedStudy:
    planted_store.build("ladder-rates", level_effects=EFFECTS, blocked=True)
    return collect_study(planted_store.uri, "ladder-rates")


def as_ladder(study: CollectedStudy, flops: dict[str, float] = FLOPS) -> CollectedStudy:
    """Return the study with model sizes instead of learning rates."""
    levels = {}
    for (_, level), (name, value) in zip(study.levels.items(), flops.items(), strict=True):
        cells = [dataclasses.replace(c, metrics=c.metrics | {"final/training_flops": value}) for c in level.cells]
        levels[f"model={name}"] = dataclasses.replace(level, cells=tuple(cells))
    declaration = dataclasses.replace(study.declaration, factors={"model": tuple(flops)})
    return dataclasses.replace(study, levels=levels, declaration=declaration)


def test_the_rungs_are_ordered_by_compute(study: CollectedStudy, tmp_path: Path) -> None:
    comparison = analyze(as_ladder(study))
    ladder = comparison.ladder
    assert ladder is not None
    assert [rung.level for rung in ladder.rungs] == ["model=1e-3", "model=1e-4", "model=1e-2"]
    assert ladder.decision_accuracy == {"model=1e-3": pytest.approx(2 / 3), "model=1e-4": 1.0}
    (effect,) = ladder.effects
    assert all(outcome.ci_low < 1.0 < outcome.ci_high for outcome in effect.levels.values())
    assert set(ladder.controls) == {"nike_positive"}
    assert ladder.sentences[0].startswith(
        "nike_positive is better than the baseline at all 3 rungs, from 1.0e10 to 8.0e10 FLOPs of training compute"
    )
    assert ladder.sentences[1].endswith("2 of 3 at model=1e-3 and 3 of 3 at model=1e-4.")
    assert set(ladder.sentences) < set(comparison.paragraphs)
    assert comparison.as_dict()["ladder"]["decision_accuracy"]["model=1e-4"] == 1.0
    assert len(build_ladder_table(comparison).data) == 3
    styles = assign_styles({name: arm.role for name, arm in comparison.arms.items()})
    figure = draw_ladder(comparison, styles, tmp_path)
    assert figure is not None
    assert (tmp_path / "ladder.svg").exists()


def test_other_studies_are_not_ladders(study: CollectedStudy) -> None:
    assert analyze_ladder(study, 0.95) is None
    assert analyze_ladder(as_ladder(study, dict.fromkeys(FLOPS, 1e10)), 0.95) is None
    assert analyze_ladder(as_ladder(study, dict.fromkeys(FLOPS, float("nan"))), 0.95) is None


RUNGS = [Rung("small", 1e10, 1.0, 1, 1), Rung("large", 9e10, 9.0, 1, 1)]


@pytest.mark.parametrize(
    ("estimates", "outcomes", "interaction_p", "expected"),
    [
        (
            (1.0, -1.0),
            ("better", "worse"),
            0.001,
            "No statement about larger models: the effect of f does not have the",
        ),
        ((1.0, -0.1), ("better", "no clear difference"), 0.5, "No statement about larger models: the effect of f does"),
        ((1.0, 3.0), ("better", "better"), 0.01, "No statement about larger models: the effect of f differs between"),
        ((1.0, 3.0), ("better", "better"), float("nan"), "No statement about larger models: whether the effect of f"),
        (
            (1.0, 0.5),
            ("better", "no clear difference"),
            0.5,
            "No statement about larger models: the effect of f is not",
        ),
        ((-1.0, -1.2), ("worse", "worse"), 0.5, "f is worse than the baseline at all 2 rungs, from 1.0e10 to 9.0e10"),
    ],
)
def test_larger_models_are_mentioned_only_if_all_rungs_agree(
    estimates: tuple[float, float], outcomes: tuple[Any, Any], interaction_p: float, expected: str
) -> None:
    levels = {
        rung.level: LevelOutcome(estimate, 0.0, 0.0, 0.01, outcome)
        for rung, estimate, outcome in zip(RUNGS, estimates, outcomes, strict=True)
    }
    effect = FilterByFactor("compute", "f", "m", levels, interaction_p=interaction_p)
    assert describe_extrapolation(effect, RUNGS, 0.05).startswith(expected)
    reason = dataclasses.replace(effect, reason="no runs")
    assert "cannot be estimated at every rung (no runs)" in describe_extrapolation(reason, RUNGS, 0.05)
