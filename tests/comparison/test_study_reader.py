from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from winnow.comparison import analyze, collect_study
from winnow.errors import WinnowError
from winnow.reporting import compare
from winnow.tracking import keys


def test_a_study_is_read_completely(planted_store: Any, planted: str) -> None:
    study = collect_study(planted_store.uri, planted)
    assert study.arms == ["full", "nike_positive", "random_matched"]
    assert [cell.seed for cell in study.get_cells("full")] == [1, 2, 3, 4, 5]
    assert study.declaration.filter == "nike_positive"
    assert set(study.loss_curves["metric"]) == {"train/loss", "validation/loss"}
    assert study.rows["slice:nike_positive/kept"].mean() == pytest.approx(1 / 3)
    assert study.filter_summaries["nike_positive"]["rows"]["train"]["kept"] == 2870
    assert not study.missing_seeds
    assert not study.notes


def test_unknown_studies_and_stores_are_errors_with_suggestions(
    planted_store: Any, planted: str, tmp_path: Path
) -> None:
    with pytest.raises(WinnowError, match="Did you mean 'planted'") as caught:
        collect_study(planted_store.uri, "plantd")
    assert caught.value.key == "study"
    with pytest.raises(WinnowError, match="no run store"):
        collect_study(f"sqlite:///{tmp_path / 'absent.db'}", planted)
    assert not (tmp_path / "absent.db").exists()


def test_a_study_without_a_finished_run_is_an_error_with_the_cause(planted_store: Any) -> None:
    planted_store.build("none", seeds=(1,), effects={"full": 0.0}, failed=(("full", 1),))
    with pytest.raises(WinnowError, match=r"no finished run.*out of patience") as caught:
        collect_study(planted_store.uri, "none")
    assert caught.value.key == "study"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields", "why", "arms"),
    [
        ("one-arm", {"effects": {"full": 0.0}}, "nike_positive has no finished run", ["full"]),
        ("other-arm", {"effects": {"nike_positive": 0.0}}, "full has no finished run", ["nike_positive"]),
        (
            "one-seed",
            {"seeds": (1,)},
            "nike_positive has only one finished seed, and at least 2 are needed",
            ["full", "nike_positive", "random_matched"],
        ),
    ],
)
def test_arms_that_are_not_comparable_are_still_described(
    planted_store: Any, tmp_path: Path, name: str, fields: dict[str, Any], why: str, arms: list[str]
) -> None:
    found = compare(planted_store.uri, planted_store.build(name, **fields), tmp_path)
    assert found.verdict.word == "not comparable"
    assert found.verdict.reason == why
    assert list(found.arms) == arms
    assert found.metrics["test/all/loss"][arms[0]].n >= 1
    text = (tmp_path / "report.html").read_text()
    assert why in text
    assert all(run in text for arm in found.arms.values() for run in arm.run_ids)


def test_two_studies_are_compared_as_one(planted_store: Any) -> None:
    baseline = planted_store.build("first", {"full": 0.0}, seeds=(1, 2, 3), declared=False)
    planted_store.build("second", {"nike_positive": 0.9, "full": 0.0}, seeds=(3, 4, 5))
    study = collect_study(planted_store.uri, baseline, "second")
    assert study.name == "first and second"
    assert study.arms == ["full", "nike_positive"], "full is the same recipe in both, so it is one arm"
    assert [cell.seed for cell in study.get_cells("full")] == [1, 2, 3, 4, 5]
    assert len({cell.experiment_id for cell in study.get_cells("full")}) == 2
    found = analyze(study)
    assert found.verdict.word == "better"
    assert any(note.startswith("Post hoc: first is joined with second") for note in found.notes)


def test_an_arm_with_another_recipe_is_named_after_its_study(planted_store: Any) -> None:
    planted_store.build("plain", seeds=(1, 2))
    planted_store.build("longer", {"full": 0.0}, seeds=(1, 2), tags={"full": {keys.RECIPE: "longer"}})
    study = collect_study(planted_store.uri, "plain", "longer")
    assert study.arms == ["full", "nike_positive", "random_matched", "full (longer)"]
    assert "full (longer)" in study.declaration.post_hoc


def test_missing_seeds_and_failed_cells_are_reported(planted_store: Any) -> None:
    name = planted_store.build("gaps", seeds=(1, 2, 3), declared_seeds=(1, 2, 3, 4), failed=(("full", 3),))
    study = collect_study(planted_store.uri, name)
    assert study.missing_seeds == {"full": [3, 4], "nike_positive": [4], "random_matched": [4]}
    notes = " ".join(study.notes)
    assert "full has no finished run for seed 3, 4" in notes
    assert "full seed 3 (FAILED, WinnowError: out of patience)" in notes
    cell = study.get_cells("full")[0]
    for start, seed in ((cell.start_time - 1, 1), (cell.start_time + 1, 2)):
        tags = {**cell.tags, keys.SEED: str(seed), keys.CELL_ID: f"interrupted {seed}"}
        run = planted_store.client.create_run(cell.experiment_id, tags=tags, start_time=start)
        planted_store.client.set_terminated(run.info.run_id, "KILLED")
    notes = " ".join(collect_study(planted_store.uri, name).notes)
    assert "full seed 2 (KILLED)" in notes, "no later run finished"
    assert "full seed 1" not in notes, "a later run finished"


def test_the_newest_run_of_a_seed_counts_and_other_configurations_are_excluded(planted_store: Any) -> None:
    planted_store.build("repeats", seeds=(1, 2))
    later = 1_800_000_000_000
    newest = planted_store.add_cell("repeats", "full", 2, start=later)
    planted_store.add_cell("repeats", "full", 1, start=later, cell="other", recipe_id="other")
    added = planted_store.add_cell("repeats", "full", 9, start=later, cell="added")
    study = collect_study(planted_store.uri, "repeats")
    runs = {cell.seed: cell for cell in study.get_cells("full")}
    assert sorted(runs) == [1, 2, 9]
    assert runs[2].run_id == newest
    assert runs[9].run_id == added
    assert runs[1].tags[keys.RECIPE] == "full"
    assert any("2 finished runs were excluded" in note for note in study.notes)
    assert any("seeds that were run but not declared: 9" in note for note in study.notes)


def test_more_seeds_for_one_arm_keep_the_other_arms(planted_store: Any) -> None:
    planted_store.build("topped", seeds=(1, 2))
    later = 1_800_000_000_000
    planted_store.add_cell("topped", "nike_positive", 9, start=later, cell="added")
    experiment = planted_store.client.get_experiment_by_name("topped").experiment_id
    parent = planted_store.client.create_run(experiment, tags={keys.KIND: "study"}, start_time=later)
    declaration = {
        "arms": ["nike_positive"],
        "filter": "nike_positive",
        "control": None,
        "seeds": [9],
        "cells": ["added"],
    }
    planted_store.client.log_text(parent.info.run_id, json.dumps(declaration), keys.DECLARATION)
    study = collect_study(planted_store.uri, "topped")
    assert study.arms == ["full", "nike_positive", "random_matched"]
    assert [cell.seed for cell in study.get_cells("nike_positive")] == [1, 2, 9]
    assert study.declaration.control == "random_matched"
    assert any(note.startswith("Post hoc: the declaration changed") for note in study.notes)


def test_runs_without_a_declaration_are_marked_post_hoc(planted_store: Any) -> None:
    study = collect_study(planted_store.uri, planted_store.build("undeclared", seeds=(1, 2), declared=False))
    assert study.declaration.filter == "nike_positive"
    assert any(note.startswith("Post hoc: the study has no declaration") for note in study.notes)
