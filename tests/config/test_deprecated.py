"""Renamed keys, choices and target classes: old names give the same cell as new ones, with one warning for each."""

from pathlib import Path

import pytest
import yaml

from winnow.config import (
    ComposedCell,
    TrainConfig,
    compose_cells,
    find_defaulted_keys,
    load_stored_config,
    restore_cell,
)
from winnow.config.deprecated import RENAMED_KEYS, RENAMED_TARGETS, rename_deprecated_override, warn_deprecated
from winnow.config.targets import allowed_packages, import_target
from winnow.errors import WinnowError, WinnowErrors
from winnow.run.run_components import build_components, compute_cell_id


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compose in an empty folder, with no warning printed yet."""
    monkeypatch.chdir(tmp_path)
    warn_deprecated.cache_clear()
    return tmp_path


def compose(*arguments: str, multirun: bool = False) -> list[ComposedCell[TrainConfig]]:
    return compose_cells("train", TrainConfig, arguments, multirun)[0]


def write_experiment(folder: Path, text: str) -> None:
    file = folder / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"# @package _global_\n{text}", encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("arithmetic.linear=portable", "numerics.linear=portable"),
        ("++arithmetic.tf32=true", "++numerics.tf32=true"),
        ("arithmetic={linear: portable}", "numerics={linear: portable}"),
        ("evaluation.pseudo_rows=null", "evaluation.pseudo_likelihood_rows=null"),
        ("training.keep_rows_apart=false", "training.isolate_rows=false"),
        ("+dataset.split.together=[]", "+dataset.split.group_by=[]"),
        ("filter=without", "filter=leave_one_out"),
    ],
)
def test_an_override_with_an_old_name_gives_the_same_cell(
    old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "dataset.source.rows=300"
    (before,), (after,) = compose(old, small), compose(new, small)
    assert before == after
    ids = {compute_cell_id(cell, build_components(cell.config)) for cell in (before, after)}
    assert len(ids) == 1
    assert capsys.readouterr().err.count(" is deprecated; use ") == 1


def test_the_warning_names_the_old_and_the_new_key(capsys: pytest.CaptureFixture[str]) -> None:
    compose("arithmetic.linear=portable", "seed=1,2", multirun=True)
    assert capsys.readouterr().err == "winnow: arithmetic.linear is deprecated; use numerics.linear.\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("filter=full,without", "filter=full,leave_one_out"),
        ("filter=choice(full,'without')", "filter=choice(full,'leave_one_out')"),
        ("+filter@evaluation.slices.x=without", "+filter@evaluation.slices.x=leave_one_out"),
        ("~arithmetic", "~numerics"),
        ("filter=full,without_names", "filter=full,without_names"),
        ("study.name=without", "study.name=without"),
        ("study.name='arithmetic.linear=x'", "study.name='arithmetic.linear=x'"),
        ("arithmetics.linear=x", "arithmetics.linear=x"),
    ],
)
def test_only_renamed_keys_and_choices_are_replaced(old: str, new: str) -> None:
    assert rename_deprecated_override(old) == new


def test_an_old_choice_works_in_a_sweep() -> None:
    nodes = [cell.config.filter for cell in compose("filter=full,without", "seed=1,2", multirun=True)]
    assert [node["_target_"].rpartition(".")[2] for node in nodes] == ["Full", "Full", "LeaveOneOut", "LeaveOneOut"]


def test_old_names_work_in_the_users_own_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(
        folder,
        "defaults: [{override /filter: without}]\n"
        "arithmetic: {linear: portable}\n"
        "filter: {_target_: winnow.filters.Without}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {training.keep_rows_apart: 'true,false'}}}\n",
    )
    cells = compose("experiment=mine")
    assert [cell.config.training.isolate_rows for cell in cells] == [True, False]
    assert {cell.config.numerics.linear for cell in cells} == {"portable"}
    assert cells[0].config.filter["_target_"] == "winnow.filters.LeaveOneOut"
    assert set(capsys.readouterr().err.splitlines()) == {
        "winnow: arithmetic.linear is deprecated; use numerics.linear.",
        "winnow: filter=without is deprecated; use filter=leave_one_out.",
        "winnow: training.keep_rows_apart is deprecated; use training.isolate_rows.",
        "winnow: winnow.filters.Without is deprecated; use winnow.filters.LeaveOneOut.",
    }


@pytest.mark.parametrize("key", ["arithmetic.linear", "numerics.linear"])
def test_the_command_line_wins_over_an_old_name_in_a_file(key: str, folder: Path) -> None:
    write_experiment(folder, "arithmetic: {linear: portable, tf32: true}\n")
    (cell,) = compose("experiment=mine", f"{key}=onednn")
    assert (cell.config.numerics.linear, cell.config.numerics.tf32) == ("onednn", True)


def test_an_unknown_key_below_an_old_one_is_an_error() -> None:
    with pytest.raises(WinnowErrors) as caught:
        compose("arithmetic.lineer=portable")
    (error,) = caught.value.errors
    assert error.key == "numerics.lineer"
    assert "Did you mean 'linear'?" in error.message


def test_a_stored_configuration_with_old_names_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    (cell,) = compose("filter=leave_one_out", "numerics.linear=portable", "training.isolate_rows=false")
    old = cell.config_dict
    old["arithmetic"] = old.pop("numerics")
    old["training"]["keep_rows_apart"] = old["training"].pop("isolate_rows")
    old["evaluation"]["pseudo_rows"] = old["evaluation"].pop("pseudo_likelihood_rows")
    old["filter"]["_target_"] = "winnow.filters.Without"
    tree = load_stored_config(yaml.safe_dump(old))
    assert tree == cell.config_dict
    assert find_defaulted_keys(tree, cell.config_dict) == []
    assert restore_cell(old, [], TrainConfig).config == cell.config
    assert "winnow: training.keep_rows_apart is deprecated; use training.isolate_rows." in capsys.readouterr().err


def test_each_new_name_exists() -> None:
    (cell,) = compose()
    for new in RENAMED_KEYS.values():
        if "=" in new:
            assert compose(new)
            continue
        node = cell.config_dict
        for name in new.split("."):
            assert name in node, new
            node = node[name]
    for new in RENAMED_TARGETS.values():
        errors: list[WinnowError] = []
        assert import_target(new, "x", allowed_packages(), errors) is not None, errors
