"""The same command in two terminals: no cell is trained twice, and no run is damaged."""

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


def told(folder: Path, name: str) -> str:
    return " ".join((folder / f"{name}.txt").read_text().split())


def test_the_same_run_started_twice_is_refused_and_damages_nothing(
    workplace: Path, small: list[str], runs: Runs, histories: Histories
) -> None:
    run = ["train", *small, "study.name=mine", "training.max_steps=6000", "training.validate_every_steps=100"]
    first = start(workplace, "first", run)
    while not list(workplace.glob("outputs/mine/cells/*/last.ckpt")):
        assert first.poll() is None, told(workplace, "first")
        time.sleep(0.05)
    second = start(workplace, "second", run)
    assert second.wait(400) == 1
    assert "another process is training this cell" in told(workplace, "second")
    assert first.poll() is None, "the second came too late"
    assert first.wait(600) == 0, told(workplace, "first")
    (only,) = runs()
    assert only.info.status == "FINISHED"
    found = histories(only)
    assert [step for step, _ in found["train/loss"]] == list(range(10, 6001, 10))
    assert [step for step, _ in found["validation/loss"]] == list(range(100, 6001, 100))


def test_two_terminals_share_a_grid(workplace: Path, small: list[str], runs: Runs) -> None:
    grid = ["train", "-m", "filter=full,nike_positive", "seed=1,2", "study.name=mine", *small]
    processes = [start(workplace, name, [*grid, "training.max_steps=60"]) for name in ("first", "second")]
    codes = [process.wait(600) for process in processes]
    assert codes == [0, 0], [told(workplace, name) for name in ("first", "second")]
    assert len(runs()) == 4
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert {run.data.tags.get(keys.ATTEMPTS, "1") for run in runs()} == {"1"}, "no cell was trained twice"
    assert len({run.data.tags[keys.OWNER] for run in runs()}) == 2, "both trained"
    assert len(runs("study")) == 1
    assert all("4" in run.data.tags[keys.COMPARED] for run in runs("comparison"))
