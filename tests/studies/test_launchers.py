"""Launchers: cells in other processes have the same scores, and processes end with their study."""

import itertools
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.tracked_runs import Metrics, Runs
from winnow.cli import main
from winnow.errors import WinnowError
from winnow.studies import Devices, Joblib, Submitit, Torchrun
from winnow.studies.subprocess_runner import run_processes
from winnow.tracking import Store, keys


@dataclass(eq=False)
class Task:
    """The attributes of a job that a launcher uses: a log and a record of how it ended."""

    name: str
    folder: Path
    causes: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.txt"

    def finalize(self, cause: str) -> None:
        self.causes.append(cause)


SPAN = (
    "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], time.monotonic()); "
    "time.sleep(0.3); print(time.monotonic())"
)


@pytest.mark.slow
def test_each_device_runs_one_cell_at_a_time_without_idling(tmp_path: Path) -> None:
    tasks: list[Any] = [Task(f"task{number}", tmp_path) for number in range(5)]
    environments = [{"CUDA_VISIBLE_DEVICES": name} for name in ("0", "GPU-7")]
    assert {task.name for task in run_processes(tasks, environments, lambda _: ["-c", SPAN])} == {
        task.name for task in tasks
    }
    spans: dict[str, list[tuple[float, float]]] = {}
    for task in tasks:
        device, begun, ended = task.log.read_text().split()
        spans.setdefault(device, []).append((float(begun), float(ended)))
    assert sorted(map(len, spans.values())) == [2, 3]
    for device_spans in spans.values():
        device_spans.sort()
        assert all(first[1] <= then[0] for first, then in itertools.pairwise(device_spans))
    first, second = (min(device_spans) for device_spans in spans.values())
    assert max(first[0], second[0]) < min(first[1], second[1]), "the devices run in parallel"


@pytest.mark.slow
def test_a_dead_process_is_reported_by_its_signal_and_stops_no_other(tmp_path: Path) -> None:
    tasks: list[Any] = [Task(name, tmp_path) for name in ("killed", "well", "wrong")]
    codes = {"killed": "import os; os.kill(os.getpid(), 9)", "well": "", "wrong": "raise SystemExit(3)"}
    list(run_processes(tasks, [{}], lambda task: ["-c", codes[task.name]]))
    assert [task.causes for task in tasks] == [
        ["its process was killed, possibly because the machine ran out of memory"],
        ["its process ended with exit code 0"],
        ["its process ended with exit code 3"],
    ]


@pytest.mark.slow
def test_processes_end_with_the_study(tmp_path: Path) -> None:
    task: Any = Task("long", tmp_path)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    jobs = run_processes([task, Task("short", tmp_path)], [{}, {}], lambda job: ["-c", code if job is task else ""])
    assert next(jobs).name == "short"
    while not (output := task.log.read_text()):
        time.sleep(0.05)
    jobs.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(output), 0)


@pytest.mark.slow
def test_a_job_ends_when_the_pipe_from_its_study_breaks(tmp_path: Path) -> None:
    code = "from winnow.studies.job import terminate_on_stdin_close as end; end()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == -15


def test_the_default_devices_are_the_visible_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert Devices().max_parallel_cells == 2
    assert Devices(devices=[0]).max_parallel_cells == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (error,) = Devices().check()
    assert isinstance(error, WinnowError)
    assert "launcher.devices=[0,1]" in str(error)


def test_the_number_of_parallel_cells() -> None:
    assert Joblib(workers=3).max_parallel_cells == 3
    assert Submitit(cells=7).max_parallel_cells == 7
    assert (
        Torchrun(cells=2, processes_per_cell=4).max_parallel_cells,
        Torchrun(processes_per_cell=4).processes_per_cell,
    ) == (
        2,
        4,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        ["launcher=joblib", "launcher.workers=2", "seed=1,2,3"],
        ["launcher=joblib", "launcher.workers=1", "seed=1,2"],
        ["launcher=submitit_local", "seed=1"],
        ["launcher=torchrun", "launcher.cells=2", "seed=1,2", "trainer=ddp", "trainer.accelerator=cpu"],
    ],
    ids=["joblib", "joblib_alone", "submitit", "torchrun"],
)
def test_cells_in_other_processes_have_the_same_scores(
    workplace: Path, store: Store, small: list[str], launcher: list[str], runs: Runs, metrics: Metrics
) -> None:
    study = ["train", "-m", "filter=nike_positive", "model.dropout=0", *small]
    seeds = next(text for text in launcher if text.startswith("seed="))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # the number of threads of the process does not affect the results
    assert main([*study, "study.name=here", "launcher=in_process", seeds]) == 0
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert main([*study, "study.name=mine", *launcher]) == 0
    (parent,) = runs("study")
    by_seed = {run.data.tags[keys.SEED]: run for run in runs(study="here")}
    assert len(runs()) == len(by_seed) > 0
    for there in runs():
        here = by_seed[there.data.tags[keys.SEED]]
        assert there.info.status == "FINISHED"
        assert there.data.tags["mlflow.parentRunId"] == parent.info.run_id
        # Two ranks add gradients in another order; all other launchers are bit-identical.
        tolerance = 1e-4 if launcher[0].endswith("torchrun") else 0.0
        for name in ("final/test/all/loss", "final/probe/nike_wide/log_odds", "before/test/all/loss"):
            expected = pytest.approx(metrics(here)[name], rel=tolerance, abs=tolerance)
            assert metrics(there)[name] == expected, name
    if not launcher[0].endswith("torchrun"):
        weights = [
            {file.parents[1].name: file.read_bytes() for file in cells.glob("*/model/model.safetensors")}
            for cells in (workplace / "outputs/here/cells", workplace / "outputs/mine/cells")
        ]
        assert weights[0] == weights[1]
        assert len(weights[1]) == len(by_seed)
    logs = [file.read_text() for file in (workplace / "outputs/mine/cells").glob("*/log.txt")]
    assert len(logs) == len(by_seed)
    assert main([*study, "study.name=mine", seeds]) == 0
    assert len(runs()) == len(by_seed), "cells that other launchers finished are skipped"
    assert {run.data.tags[keys.KIND] for run in runs()} == {"cell"}


def test_the_trainer_devices_must_match_the_launcher(
    workplace: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", "seed=1,2", "launcher=torchrun", *small]) == 1
    assert "2 processes per cell" in capsys.readouterr().err
    assert main(["train", "-m", "seed=1,2", "trainer=ddp", *small]) == 1
    assert "launcher=torchrun" in capsys.readouterr().err
