"""Cells that are derived from a cell with another seed equal composed cells."""

from pathlib import Path

import pytest

from winnow.config import TrainConfig, compose_cells


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_composed_alone(*overrides: str) -> None:
    together, _ = compose_cells("train", TrainConfig, [*overrides, "seed=1,2,3,4"], multirun=True)
    for seed, cell in zip((1, 2, 3, 4), together, strict=True):
        ((alone,), _) = compose_cells("train", TrainConfig, [*overrides, f"seed={seed}"], multirun=True)
        assert cell == alone


def test_cells_that_differ_only_in_the_seed_equal_composed_cells() -> None:
    assert_composed_alone("filter=nike_positive", "training.max_steps=7")


def test_a_value_that_depends_on_the_seed_is_composed_for_every_seed(folder: Path) -> None:
    file = folder / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\ntraining:\n  max_steps: ${seed}\n", encoding="utf-8")
    assert_composed_alone("experiment=mine")
    assert_composed_alone("training.batch_size=${seed}")
