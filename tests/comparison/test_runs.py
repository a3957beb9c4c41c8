from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Recipe, Store
from winnow.comparison import collect
from winnow.errors import WinnowError


def test_all_that_a_study_left_is_read(store: Store, planted: str) -> None:
    study = collect(store.uri, planted)
    assert study.arms == ["full", "nike_positive", "random_matched"]
    assert [cell.seed for cell in study.of("full")] == [1, 2, 3, 4, 5]
    assert study.declaration.filter == "nike_positive"
    assert set(study.histories["metric"]) == {"train/loss", "validation/loss"}
    assert study.rows["slice:nike_positive/kept"].mean() == pytest.approx(1 / 3)
    assert study.filters["nike_positive"]["rows"]["train"]["kept"] == 2870
    assert not study.missing
    assert not study.notes


def test_unknown_studies_and_stores_are_named_with_near_ones(store: Store, planted: str, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match="Did you mean 'planted'") as caught:
        collect(store.uri, "plantd")
    assert caught.value.key == "study"
    with pytest.raises(WinnowError, match="no run store"):
        collect(f"sqlite:///{tmp_path / 'absent.db'}", planted)
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe("one-arm", {"full": 0.0}), "one arm only"),
        (Recipe("one-seed", seeds=(1,)), "too few seeds"),
        (
            Recipe("none", {"full": 0.0}, seeds=(1, 2), failed=(("full", 1), ("full", 2))),
            "no finished run.*out of patience",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Recipe) else "",
)
def test_studies_that_cannot_be_compared_are_refused(store: Store, recipe: Recipe, said: str) -> None:
    store.build(recipe)
    with pytest.raises(WinnowError, match=said):
        collect(store.uri, recipe.name)


def test_missing_seeds_and_failed_cells_are_told(store: Store) -> None:
    recipe = Recipe("gaps", seeds=(1, 2, 3), declared_seeds=(1, 2, 3, 4), failed=(("full", 3),))
    study = collect(store.uri, store.build(recipe))
    assert study.missing == {"full": [3, 4], "nike_positive": [4], "random_matched": [4]}
    told = " ".join(study.notes)
    assert "full has no finished run for seed 3, 4" in told
    assert "full seed 3 (FAILED, WinnowError: out of patience)" in told


def test_the_newest_of_repeats_counts_and_other_configurations_do_not(store: Store) -> None:
    recipe = Recipe("repeats", seeds=(1, 2))
    store.build(recipe)
    experiment = store.client.get_experiment_by_name("repeats").experiment_id
    again = store.cell(experiment, recipe, "full", 2, start=1_800_000_000_000)
    store.cell(experiment, recipe, "full", 1, start=1_800_000_000_000, cell="other", params={"lr": "1"})
    added = store.cell(experiment, recipe, "full", 9, start=1_800_000_000_000, cell="added")
    study = collect(store.uri, "repeats")
    runs = {cell.seed: cell for cell in study.of("full")}
    assert sorted(runs) == [1, 2, 9]
    assert runs[2].run_id == again
    assert runs[9].run_id == added
    assert runs[1].params == {}
    assert any("2 finished runs were left out" in note for note in study.notes)
    assert any("seed 9 ran though it was not declared" in note for note in study.notes)


def test_runs_without_a_declaration_are_marked_post_hoc(store: Store) -> None:
    study = collect(store.uri, store.build(Recipe("undeclared", seeds=(1, 2), declared=False)))
    assert study.declaration.filter == "nike_positive"
    assert any(note.startswith("Post hoc: nothing was declared") for note in study.notes)
