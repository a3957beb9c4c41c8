"""The same command in two processes: no cell is trained twice, and no run is damaged."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.tracking import keys

pytestmark = pytest.mark.slow

Runs = Callable[..., list[Any]]
Histories = Callable[[Any], dict[str, list[tuple[int, float]]]]


def start(folder: Path, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.txt").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "winnow", *arguments], stdout=log, stderr=log, cwd=folder)


def read_output(folder: Path, name: str) -> str:
    return " ".join((folder / f"{name}.txt").read_text().split())


def test_a_second_process_for_the_same_cell_is_rejected(
    workplace: Path, small: list[str], runs: Runs, histories: Histories
) -> None:
    command = ["train", *small, "study.name=mine", "training.max_steps=6000", "training.validate_every_steps=100"]
    first = start(workplace, "first", command)
    while not list(workplace.glob("outputs/mine/cells/*/last.ckpt")):
        assert first.poll() is None, read_output(workplace, "first")
        time.sleep(0.05)
    second = start(workplace, "second", command)
    assert second.wait(400) == 1
    assert "another process is training this cell" in read_output(workplace, "second")
    assert first.poll() is None, "the first process ended too early"
    assert first.wait(600) == 0, read_output(workplace, "first")
    (run,) = runs()
    assert run.info.status == "FINISHED"
    metrics = histories(run)
    assert [step for step, _ in metrics["train/loss"]] == list(range(10, 6001, 10))
    assert [step for step, _ in metrics["validation/loss"]] == list(range(100, 6001, 100))


def test_two_processes_share_the_cells_of_a_study(workplace: Path, small: list[str], runs: Runs) -> None:
    grid = ["train", "-m", "filter=full,nike_positive", "seed=1,2", "study.name=mine", *small]
    processes = [start(workplace, name, [*grid, "training.max_steps=60"]) for name in ("first", "second")]
    codes = [process.wait(600) for process in processes]
    assert codes == [0, 0], [read_output(workplace, name) for name in ("first", "second")]
    assert len(runs()) == 4
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert {run.data.tags.get(keys.ATTEMPTS, "1") for run in runs()} == {"1"}, "no cell was trained twice"
    assert len({run.data.tags[keys.RUN_OWNER] for run in runs()}) == 2, "both processes trained cells"
    assert len(runs("study")) == 1
    assert all("4" in run.data.tags[keys.COMPARED_RUN_COUNT] for run in runs("comparison"))
