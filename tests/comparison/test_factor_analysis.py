"""The effect of a filter at each level of a factor, and the combination of the levels."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from winnow.comparison import Comparison, analyze, collect_study
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.factor_levels import average_levels
from winnow.comparison.factor_sentences import describe_factor_effects
from winnow.comparison.metric_scores import find_incomparable_reason
from winnow.comparison.next_steps import build_sweep_command
from winnow.comparison.ngram_baselines import compute_fill_overlap
from winnow.comparison.selected_levels import combine_levels, compute_validation_scores
from winnow.metrics import Metric
from winnow.reporting.comparison_report import write_comparison_report
from winnow.reporting.factor_tables import build_factor_grids
from winnow.tracking import keys

PRIMARY = "probe/nike_wide/log_odds"
LEVELS = {
    "1e-4": {"full": 0.0, "nike_positive": 1.2},
    "1e-3": {"full": 0.5, "nike_positive": 0.5},
}


@pytest.fixture(scope="module")
def study(planted_store: Any) -> CollectedStudy:
    """A study with two learning rates and an additional run at one of them."""
    planted_store.build("factor-rates", level_effects=LEVELS, blocked=True)
    planted_store.add_cell("factor-rates", "full", 6, level="1e-3", cell="factor-rates-added")
    return collect_study(planted_store.uri, "factor-rates")


@pytest.fixture(scope="module")
def compared(study: CollectedStudy) -> Comparison:
    return analyze(study)


def test_the_effect_at_each_level_the_average_and_the_interaction(compared: Comparison) -> None:
    factors = compared.factors
    assert factors is not None
    assert factors.levels == {"optimizer.lr": ["1e-4", "1e-3"]}
    effect = next(effect for effect in factors.effects if effect.metric == PRIMARY)
    low, high = effect.levels.values()
    assert (low.outcome, high.outcome) == ("better", "no clear difference")
    assert low.ci_low < 1.2 < low.ci_high
    assert effect.interaction_p < 0.01
    assert effect.average is not None
    assert effect.average.estimate == pytest.approx((low.estimate + high.estimate) / 2)
    assert effect.sentence.startswith("nike_positive helps at optimizer.lr=1e-4 but not at 1e-3 (interaction p")
    assert effect.sentence in compared.paragraphs


def test_the_verdict_is_about_the_average_over_the_levels(compared: Comparison) -> None:
    assert compared.verdict.sentence.endswith("; averaged over optimizer.lr 1e-4 and 1e-3.")
    factors = compared.factors
    assert factors is not None
    effect = next(effect for effect in factors.effects if effect.metric == PRIMARY)
    finding = compared.findings[0].result
    assert effect.average is not None
    assert (finding.difference, finding.ci_low, finding.p_value) == pytest.approx(
        (effect.average.estimate, effect.average.ci_low, effect.average.p_adjusted)
    )
    assert compared.arms["nike_positive"].mean == pytest.approx(
        np.mean([by_arm["nike_positive"].mean for by_arm in factors.means["optimizer.lr"].values()])
    )


def test_the_overlap_of_predictions_is_averaged_over_the_levels(study: CollectedStudy) -> None:
    levels = {}
    for (name, level), words in zip(study.levels.items(), (["a", "b", "a", "c"], ["a", "b", "a", "b"]), strict=True):
        fills = pd.DataFrame({"prompt": ["p", "p", "q", "q"], "word": words, "probability": 0.1})
        fills = fills.assign(stage="after", probe="nike_wide", arm="full", seed=1)
        levels[name] = dataclasses.replace(level, fills=fills)
    assert compute_fill_overlap(average_levels(levels), Metric(PRIMARY), "full") == pytest.approx((0.5 + 1) / 2)


def test_suggested_commands_repeat_all_levels(study: CollectedStudy) -> None:
    command = build_sweep_command(study, [1, 2, 3])
    assert command is not None
    assert command.endswith(" optimizer.lr=1e-4,1e-3 filter=full,nike_positive seed=1,2,3")


def test_the_grid_has_a_row_per_arm_and_a_column_per_level(compared: Comparison, study: CollectedStudy) -> None:
    (grid,) = build_factor_grids(compared)
    assert grid.levels == ["1e-4", "1e-3"]
    assert [cell.effect[:1] for cell in grid.rows["nike_positive"]] == ["▲", "○", "▲"]
    assert [cell.effect for cell in grid.rows["full"]] == [""] * 3
    assert build_factor_grids(analyze(study.levels["optimizer.lr=1e-3"])) == []


@pytest.mark.parametrize(
    ("arms", "reason"),
    [
        (["nike_positive"], "training.batch_size (nike_positive: 32; full: 64) (at optimizer.lr=1e-3)"),
        (["full", "nike_positive"], "may differ only in optimizer.lr, but they also differ in training.batch_size"),
    ],
    ids=["arms of one level", "levels"],
)
def test_settings_that_are_not_factors_must_be_equal(study: CollectedStudy, arms: list[str], reason: str) -> None:
    metric, levels = study.registry.metric(PRIMARY), dict(study.levels)
    assert find_incomparable_reason(average_levels(levels), metric, "nike_positive", "full") is None
    settings = copy.deepcopy(levels["optimizer.lr=1e-3"].settings)
    for arm in arms:
        settings[arm][0]["training"]["batch_size"] = 32
    levels["optimizer.lr=1e-3"] = dataclasses.replace(levels["optimizer.lr=1e-3"], settings=settings)
    assert reason in str(find_incomparable_reason(average_levels(levels), metric, "nike_positive", "full"))


def test_incomplete_levels_are_excluded_from_the_average(study: CollectedStudy) -> None:
    assert [cell.seed for cell in study.get_cells("full")] == [1, 2, 3, 4, 5]
    assert len(study.runs) == 21
    assert any("a level is missing: full seed 6" in note for note in study.notes)


def test_cells_trained_before_a_factor_was_declared_have_its_level(planted_store: Any) -> None:
    cells = {f"before-{arm}old-{seed}": (arm, seed) for arm in LEVELS["1e-4"] for seed in (1, 2)}
    declaration = {"cell_levels": {cell: {"optimizer.lr": "1e-3"} for cell in cells}}
    name = planted_store.build("factor-before", level_effects=LEVELS, seeds=(1, 2), declaration=declaration)
    for cell, (arm, seed) in cells.items():
        planted_store.add_cell(name, arm, seed, cell=cell, recipe_id=f"{arm}1e-3", start=10**13)
    study = collect_study(planted_store.uri, name)
    assert {cell.tags[keys.CELL_ID] for cell in study.levels["optimizer.lr=1e-3"].cells} == set(cells)


def test_the_level_of_each_run_is_selected_on_validation_prompts(study: CollectedStudy, tmp_path: Path) -> None:
    levels = {}
    for name, level in study.levels.items():
        is_even = level.prompts["prompt_id"].str.extract(r"(\d+)")[0].astype(int) % 2 == 0
        splits = np.where(is_even, "validation", "test")
        prompts = level.prompts.assign(split=splits, role="subject")
        declaration = dataclasses.replace(level.declaration, select="validation")
        levels[name] = dataclasses.replace(level, prompts=prompts, declaration=declaration)
    selected = combine_levels(levels)
    metric = selected.registry.metric(PRIMARY)
    scores = {name: compute_validation_scores(level, metric, "full") for name, level in levels.items()}
    for seed in (1, 2, 3, 4, 5):
        assert selected.selected_levels["full", seed] == max(scores, key=lambda name: scores[name][seed])
    assert selected.selected_levels["nike_positive", 1] == "optimizer.lr=1e-4"
    compared = analyze(selected)
    assert "selected: for each arm and seed, the level of optimizer.lr" in compared.verdict.sentence
    assert compared.verdict.word == "better"
    assert compared.factors is not None
    selection = compared.factors.selection["nike_positive"]
    assert selection.counts == {"optimizer.lr=1e-4": 5}
    assert selection.expected_best[1] > selection.expected_best[0]
    for low, mean, high in zip(
        selection.expected_best_low, selection.expected_best, selection.expected_best_high, strict=True
    ):
        assert low < mean < high
    (grid,) = build_factor_grids(compared)
    *by_level, average = (float(cell.mean) for cell in grid.rows["nike_positive"])
    assert average == pytest.approx(np.mean(by_level), abs=0.01), "not the mean of the selected runs"
    write_comparison_report(compared, selected, tmp_path)
    figure = (tmp_path / "figures" / "expected_best.svg").read_text(encoding="utf-8")
    assert 'width="237.6pt"' in figure, "the width of a column, 3.3 inches"
    for text in ("number of trials (runs per search)", "full", "nike_positive"):
        assert text in figure
    assert 'id="figure-expected_best"' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "figures/expected_best.svg" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len((tmp_path / "tables" / "expected_best.csv").read_text(encoding="utf-8").splitlines()) == 5


def test_the_figure_of_the_factors_fits_a_column(compared: Comparison, study: CollectedStudy, tmp_path: Path) -> None:
    write_comparison_report(compared, study, tmp_path)
    figure = (tmp_path / "figures" / "factors.svg").read_text(encoding="utf-8")
    assert 'width="237.6pt"' in figure
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", figure)}
    assert sizes
    assert sizes <= {7.0, 7.5, 8.0}
    for text in ("1e-4", "1e-3", "average", "optimizer.lr"):
        assert f">{text}<" in figure
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "viewStateShareKey=winnow-factors" in page
    assert "figure-expected_best" not in page
    assert not (tmp_path / "figures" / "expected_best.svg").exists()


def test_joined_studies_with_different_settings_are_compared_within_each_study(planted_store: Any) -> None:
    for name, level in (("factor-slow", "1e-4"), ("factor-fast", "1e-3")):
        tags = {arm: {keys.RECIPE: f"{arm} {name}"} for arm in LEVELS[level]}
        settings = {arm: {"optimizer": {"lr": float(level)}} for arm in LEVELS[level]}
        planted_store.build(name, LEVELS[level], seeds=(1, 2, 3), tags=tags, settings=settings)
    study = collect_study(planted_store.uri, "factor-slow", "factor-fast")
    assert list(study.levels) == ["study=factor-slow", "study=factor-fast"]
    assert study.arms == ["full", "nike_positive"]
    compared = analyze(study)
    assert compared.factors is not None
    assert "nike_positive helps at study=factor-slow but not at factor-fast" in compared.factors.sentences[0]


BETTER, UNCLEAR, WORSE = "better", "no clear difference", "worse"


@pytest.mark.parametrize(
    ("outcomes", "p_values", "expected"),
    [
        ((BETTER, UNCLEAR), 0.2, "f helps at k=a. At b, the effect is not clear, and the data do not show that it is"),
        ((BETTER, UNCLEAR), 0.01, "f helps at k=a but not at b"),
        ((WORSE, UNCLEAR), 0.01, "f hurts at k=a but not at b"),
        ((BETTER, WORSE), 0.01, "f helps at k=a and hurts at b"),
        ((BETTER, BETTER), 0.2, "f helps at every level of k: a and b; the effect does not clearly differ"),
        ((BETTER, BETTER), 0.01, "f helps at every level of k: a and b; the effect differs between the levels"),
        ((UNCLEAR, UNCLEAR), 0.2, "f has no clear effect at any level of k"),
        ((UNCLEAR, "not comparable"), 0.2, "The effect of f cannot be estimated at every level of k"),
    ],
)
def test_a_difference_between_levels_is_stated_only_if_the_interaction_is_significant(
    outcomes: tuple[Any, Any], p_values: float, expected: str
) -> None:
    by_level = dict(zip("ab", outcomes, strict=True))
    assert describe_factor_effects("k", "f", by_level, {("a", "b"): p_values}, p_values, 0.05).startswith(expected)
