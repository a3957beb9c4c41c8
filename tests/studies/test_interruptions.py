"""Interrupted studies, and how the next command resumes them."""

import json
import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from fixtures.tracked_runs import Histories, Runs
from winnow.cli import main
from winnow.studies.process_state import preserve_process_state
from winnow.tracking import keys

pytestmark = pytest.mark.slow

CELLS = ["train", "-m", "filter=full", "seed=1,2", "study.compare=false"]


def join_lines(text: str) -> str:
    return " ".join(text.split())


def start_command(arguments: list[str]) -> BaseProcess:
    """Start the command in a process that is forked from one with the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["winnow.studies", "winnow.training.progress", "winnow.evaluation", "mlflow"])
    process = context.Process(target=main, args=(arguments,))
    process.start()
    return process


def wait_until(condition: Callable[[], bool], process: BaseProcess) -> None:
    while not condition():
        assert process.is_alive(), "the process ended before it was killed"
        time.sleep(0.01)


def count_cells(folder: Path, study: str = "mine") -> tuple[int, int]:
    """Return the number of cells with the status `finished`, and the number with a checkpoint."""
    cells = folder / "outputs" / study / "cells"
    states = [json.loads(file.read_text())["state"] for file in cells.glob("*/status.json")]
    return states.count("finished"), len(list(cells.glob("*/last.ckpt")))


def test_a_killed_study_resumes_to_the_same_scores_as_an_uninterrupted_one(
    workplace: Path, small: list[str], runs: Runs, histories: Histories
) -> None:
    study = [*CELLS, *small, "training.max_steps=100", "training.validate_every_steps=20"]
    assert main([*study, "study.name=uninterrupted"]) == 0
    uninterrupted = {run.data.tags[keys.SEED]: histories(run) for run in runs(study="uninterrupted")}
    assert [step for step, _ in uninterrupted["1"]["train/loss"]] == list(range(10, 101, 10))
    finished: dict[str, int] = {}

    for moment in ((0, 1), (1, 1)):  # kill the study after the first checkpoint of each cell
        process = start_command([*study, "study.name=mine"])
        wait_until(lambda: count_cells(workplace) == moment, process)  # noqa: B023 - called at once
        process.kill()
        process.join()
        assert "RUNNING" in {run.info.status for run in runs()}, "a killed process cannot update the store"
        now = {run.info.run_id: run.info.end_time for run in runs() if run.info.status == "FINISHED"}
        assert finished.items() <= now.items(), "finished runs are not changed"
        finished = now
    assert len(finished) == 1
    assert main([*study, "study.name=mine"]) == 0
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"], "each cell resumed its run"
    assert {run.data.tags[keys.SEED]: histories(run) for run in runs()} == uninterrupted, (
        "every value, without duplicates"
    )
    assert {run.info.status for run in runs("study")} == {"FINISHED"}
    assert len(runs("study")) == 1, "the same declaration resumes the study's run"
    for run in runs():
        attempts = int(run.data.tags.get(keys.ATTEMPTS, "1"))
        assert attempts == 2


def test_a_cell_is_the_same_alone_and_after_others(
    workplace: Path, small: list[str], runs: Runs, histories: Histories
) -> None:
    cell = [*small, "seed=3", "study.compare=false"]
    assert main(["train", "-m", *cell, "study.name=alone"]) == 0
    others = ["+trainer.deterministic=true,false", "+trainer.benchmark=true"]
    assert main(["train", "-m", *small, "seed=9", "study.compare=false", "study.name=mine", *others]) == 0
    assert main(["train", "-m", *cell[:-2], "seed=8,3", "study.compare=false", "study.name=mine"]) == 0
    (alone,) = runs(study="alone")
    after = runs()[-1]
    assert after.data.tags[keys.CELL_ID] == alone.data.tags[keys.CELL_ID]
    assert histories(after) == histories(alone)


def test_the_process_state_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    import numpy as np
    import torch

    def state() -> list[Any]:
        return [
            dict(os.environ),
            Path.cwd(),
            random.getstate(),
            str(np.random.get_state()),
            torch.get_rng_state().tolist(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
        ]

    before = state()
    with preserve_process_state():
        os.environ["PL_GLOBAL_SEED"] = "7"
        os.chdir(tmp_path)
        random.random()
        np.random.random()
        torch.rand(1)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = True
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        torch.set_grad_enabled(False)
        changed = state()
    assert all(was != now for was, now in zip(before, changed, strict=True))
    assert state() == before


def fail_at(step: int, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Run a command whose training fails at a step."""
    from winnow.training import MaskedLanguageModule

    def fails(module: MaskedLanguageModule, *_: object) -> None:
        if module.global_step == step:
            raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(MaskedLanguageModule, "on_train_batch_end", fails)
        assert main(arguments) == 1


def test_a_cell_with_a_missing_checkpoint_starts_at_step_0_with_a_note(
    workplace: Path, small: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "seed=1", "study.name=mine"]
    fail_at(3, monkeypatch, study)
    (checkpoint,) = (workplace / "outputs/mine/cells").glob("*/last.ckpt")
    checkpoint.unlink()
    capsys.readouterr()
    assert main(study) == 0
    assert "The checkpoint of 1 cell is missing; training starts at step 0 in a new run." in join_lines(
        capsys.readouterr().out
    )
    assert [run.info.status for run in runs()] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("rerun", "statuses", "plan"),
    [("none", ["FINISHED", "FINISHED"], "to resume 2"), ("failed", ["FAILED"] * 2 + ["FINISHED"] * 2, "to run 2")],
)
def test_interrupted_cells_resume_unless_rerun_is_set(
    workplace: Path,
    small: list[str],
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rerun: str,
    statuses: list[str],
    plan: str,
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    fail_at(3, monkeypatch, study)
    assert "RuntimeError" in runs()[0].data.tags[keys.FAILURE_REASON]
    capsys.readouterr()
    assert main([*study, f"study.rerun={rerun}"]) == 0
    assert plan in join_lines(capsys.readouterr().out)
    assert [run.info.status for run in runs()] == statuses
    assert main([*study, "study.rerun=failed"]) == 0
    assert len(runs()) == len(statuses), "finished cells are not run again"
    assert main([*study, "study.rerun=all"]) == 0
    assert len(runs()) == len(statuses) + 2


def test_finished_cells_are_compared_if_others_failed(
    workplace: Path, small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from winnow.training import MaskedLanguageModule

    def fails(module: MaskedLanguageModule) -> None:
        if module.seed == 3:
            raise MemoryError("no room for seed 3")

    monkeypatch.setattr(MaskedLanguageModule, "on_train_start", fails)
    study = ["train", "-m", "filter=full,nike_positive", "seed=1,2,3", "study.name=mine", *small]
    assert main(study) == 1
    printed = join_lines(capsys.readouterr().out)
    assert "missing full seed 3" in printed
    assert "missing nike_positive seed 3" in printed
    assert "2 cells failed" in printed
    assert printed.count("no room for seed 3") == 4, "for each cell, once when it fails and once at the end"
    comparison = json.loads((workplace / "outputs/mine/comparison/comparison.json").read_text())
    assert comparison["missing_seeds"] == {"full": [3], "nike_positive": [3]}


def test_seeds_and_arms_can_be_added_to_a_study_but_settings_cannot_change(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["train", "-m", "filter=full,nike_positive", "study.name=mine", *small]
    assert main([*study, "seed=1"]) == 0
    assert main([*study, "seed=1,2"]) == 0
    before = [run.info.run_id for run in runs()]
    assert len(before) == 4
    assert len(runs("study")) == 2, "each declaration has a run"
    capsys.readouterr()
    assert main([*study, "seed=1,2", "training.max_steps=5", "dataset.source.rows=1400"]) == 1
    printed = join_lines(capsys.readouterr().err)
    assert "study.name" in printed
    assert "training.max_steps: expected 4 as in the finished cells of study 'mine', got 5." in printed
    assert "train another study with study.name=NEW" in printed
    assert [run.info.run_id for run in runs()] == before
    default_changes = [
        "masking.mask_share=0.7",
        "optimizer.betas=[0.9,0.98]",
        "training.freeze=[distilbert.embeddings]",
    ]
    assert main([*study, "seed=1,2", *default_changes]) == 1
    printed = join_lines(capsys.readouterr().err)
    assert "masking.mask_share: expected 0.8 as in the finished cells of study 'mine', got 0.7." in printed
    assert (
        "optimizer.betas: expected [0.9, 0.999] as in the finished cells of study 'mine', got [0.9, 0.98]." in printed
    )
    assert "training.freeze: expected [] as in" in printed
    assert main([*study, "seed=1,2", "dataset.source.rows=1400"]) == 1
    assert "dataset: the dataset's rows differ from those used by" in join_lines(capsys.readouterr().err)


def test_finished_cells_of_another_commit_are_kept_with_a_note(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "seed=1", "study.name=mine"]
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--allow-empty", "-m"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run([*commit, "first"], check=True)
    assert main(study) == 0
    first = runs()[0].data.tags[keys.COMMIT]
    subprocess.run([*commit, "second"], check=True)
    capsys.readouterr()
    assert main(study) == 0
    assert f"trained at commit {first[:10]}; the current commit is" in join_lines(capsys.readouterr().out)
    assert len(runs()) == 1


def test_a_locked_database_is_reported_and_finished_runs_are_kept(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "seed=1", "study.name=mine"]
    assert main(study) == 0
    holder = sqlite3.connect(workplace / "outputs/mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        assert main([*study, "study.rerun=all"]) == 1
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    printed = join_lines(capsys.readouterr().err)
    assert "tracking.uri" in printed
    assert "locked" in printed
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_a_clock_that_jumps_back_does_not_affect_a_study(
    workplace: Path, small: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    fail_at(3, monkeypatch, study)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() - 86400)
    assert main(study) == 0
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]
    assert all(run.info.end_time >= run.info.start_time for run in runs())
    assert all(0 < run.data.metrics["final/seconds"] < 600 for run in runs())
    assert main(study) == 0
    assert len(runs()) == 2


def test_a_full_disk_during_a_checkpoint_fails_the_cell_and_keeps_finished_ones(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    assert main([*study, "seed=1"]) == 0
    # The file size limit is above the size of the database and below that of the larger model's checkpoint.
    wide = [*study, "seed=1,2", "model.hidden_size=256", "study.name=mine"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        assert main(wide) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    printed = join_lines(capsys.readouterr().out)
    assert "the checkpoint of step 2 cannot be written" in printed
    assert "2 cells failed" in printed
    assert "Free some disk space" in printed
    assert [run.info.status for run in runs()] == ["FINISHED", "FAILED", "FAILED"]
    assert main(wide) == 0
    assert [run.info.status for run in runs()][:1] == ["FINISHED"]
    assert sum(run.info.status == "FINISHED" for run in runs()) == 3
