"""Factors of a sweep, and fractions of rows as doses of a filter."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config import ComposedCell, TrainConfig, compose_cells
from winnow.errors import WinnowErrors
from winnow.studies import InProcess
from winnow.studies.study_cell import build_study_cells
from winnow.studies.study_plan import check_plan, share_slices

CHEERFUL = """
_target_: winnow.filters.Filter
name: cheerful
signals:
  mood: {_target_: winnow.filters.VaderSentiment}
  praise: {_target_: winnow.filters.NotNull}
keep: mood & praise
"""


@pytest.fixture(autouse=True)
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "conf" / "filter"
    folder.mkdir(parents=True)
    (folder / "cheerful.yaml").write_text(CHEERFUL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def compose(*overrides: str) -> list[ComposedCell[TrainConfig]]:
    return compose_cells("train", TrainConfig, overrides, multirun=True)[0]


def test_swept_settings_outside_the_filter_are_factors() -> None:
    cells = compose("filter=full,cheerful", "optimizer.lr=1e-4,0.001", "masking=default,whole_word", "seed=1,2")
    assert len(cells) == 16
    assert cells[0].config.factors == {"optimizer.lr": "1e-4", "masking": "default"}
    assert cells[-1].config.factors == {"optimizer.lr": "1e-3", "masking": "whole_word"}
    check_plan(build_study_cells(share_slices(cells)), InProcess())


def test_other_settings_are_not_factors() -> None:
    assert all(not cell.config.factors for cell in compose("filter=full,cheerful", "optimizer.lr=1e-4", "seed=1,2"))
    cells = build_study_cells(share_slices(compose("filter=full,cheerful", "dataset.source.rows=900,950")))
    with pytest.raises(WinnowErrors, match=r"dataset.source.rows: arms are not compared across values") as caught:
        check_plan(cells, InProcess())
    assert "Allowed in a sweep: filter, seed and settings of model, masking, optimizer" in str(caught.value)


def test_a_level_can_be_declared_by_a_command_that_trains_only_this_level() -> None:
    (cell,) = compose("optimizer.lr=1e-4", "factors={optimizer.lr: 1e-4}")
    (swept, _) = compose("optimizer.lr=1e-4,1e-3")
    assert cell.config.factors == swept.config.factors == {"optimizer.lr": "1e-4"}


def test_a_range_of_fractions_has_five_doses() -> None:
    cells = compose("filter=full,cheerful", "filter.sweep.mood=10%..90%")
    assert [cell.config.filter["name"] for cell in cells] == [
        "full", *(f"cheerful-mood-{dose}pct" for dose in (10, 30, 50, 70, 90)),
    ]  # fmt: skip
    assert cells[2].config.filter["label"] == "cheerful[mood=30%]"
    assert cells[2].config.filter["sweep"] == {"mood": "30%"}


def test_thresholds_in_a_sweep_are_settings_of_the_signal() -> None:
    cells = compose("filter=cheerful", "filter.sweep.mood=0.2,0.4")
    assert [cell.config.filter["signals"]["mood"]["at_least"] for cell in cells] == [0.2, 0.4]
    assert cells[0].config.filter["label"] == "cheerful[mood.at_least=0.2]"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("filter.sweep.praise=10%,30%", r"filter.sweep.praise: the signal has no score .*Allowed: mood"),
        ("filter.sweep.moood=10%,30%", r"unknown signal 'moood'. Did you mean 'mood'"),
        ("filter.sweep.mood=10%,150%", r"filter.sweep.mood: expected a percentage between 0% and 100%, got '150%'"),
    ],
)
def test_invalid_fractions_are_errors(override: str, message: str) -> None:
    with pytest.raises(WinnowErrors, match=message):
        build_study_cells(compose("filter=cheerful", override))
