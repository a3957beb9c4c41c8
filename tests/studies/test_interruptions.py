"""What breaks a study off, and what the next start makes of it."""

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
from winnow.studies.isolation import unchanged_process
from winnow.tracking import keys

pytestmark = pytest.mark.slow

CELLS = ["train", "-m", "filter=full", "seed=1,2", "study.compare=false"]


def in_words(told: str) -> str:
    return " ".join(told.split())


def started(arguments: list[str]) -> BaseProcess:
    """Start the command in a process of its own, from one that has loaded the libraries already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["winnow.studies", "winnow.training.progress", "winnow.evaluation", "mlflow"])
    process = context.Process(target=main, args=(arguments,))
    process.start()
    return process


def wait_for(what: Callable[[], bool], process: BaseProcess) -> None:
    while not what():
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.01)


def stand(folder: Path, study: str = "mine") -> tuple[int, int]:
    """Return how many cells have told that they are finished, and how many have a checkpoint."""
    cells = folder / "outputs" / study / "cells"
    told = [json.loads(file.read_text())["state"] for file in cells.glob("*/status.json")]
    return told.count("finished"), len(list(cells.glob("*/last.ckpt")))


def test_a_study_killed_at_any_moment_ends_with_the_numbers_of_the_unbroken_one(
    workplace: Path, small: list[str], runs: Runs, histories: Histories
) -> None:
    study = [*CELLS, *small, "training.max_steps=100", "training.validate_every_steps=20"]
    assert main([*study, "study.name=whole"]) == 0
    whole = {run.data.tags[keys.SEED]: histories(run) for run in runs(study="whole")}
    assert [step for step, _ in whole["1"]["train/loss"]] == list(range(10, 101, 10))
    finished: dict[str, int] = {}

    for moment in ((0, 1), (1, 1)):  # the first cell trains on from a checkpoint, then the second does
        process = started([*study, "study.name=mine"])
        wait_for(lambda: stand(workplace) == moment, process)  # noqa: B023 - called at once
        process.kill()
        process.join()
        assert "RUNNING" in {run.info.status for run in runs()}, "nobody could tell the store"
        now = {run.info.run_id: run.info.end_time for run in runs() if run.info.status == "FINISHED"}
        assert finished.items() <= now.items(), "what has finished is left alone"
        finished = now
    assert len(finished) == 1
    assert main([*study, "study.name=mine"]) == 0
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"], "each cell went on under its own run"
    assert {run.data.tags[keys.SEED]: histories(run) for run in runs()} == whole, "every value, and none twice"
    assert {run.info.status for run in runs("study")} == {"FINISHED"}
    assert len(runs("study")) == 1, "the same declaration goes on as the same study"
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
    assert after.data.tags[keys.CELL] == alone.data.tags[keys.CELL]
    assert histories(after) == histories(alone)


def test_a_process_is_left_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    with unchanged_process():
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


def breaks_at(step: int, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Run a command whose training fails at a step."""
    from winnow.training import MaskedLanguageModule

    def fails(module: MaskedLanguageModule, *_: object) -> None:
        if module.global_step == step:
            raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(MaskedLanguageModule, "on_train_batch_end", fails)
        assert main(arguments) == 1


def test_a_cell_whose_checkpoint_is_gone_starts_afresh_and_says_so(
    workplace: Path, small: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "seed=1", "study.name=mine"]
    breaks_at(3, monkeypatch, study)
    (checkpoint,) = (workplace / "outputs/mine/cells").glob("*/last.ckpt")
    checkpoint.unlink()
    capsys.readouterr()
    assert main(study) == 0
    assert "1 cell broke off and the checkpoint is gone, so training starts at step 0 again" in in_words(
        capsys.readouterr().out
    )
    assert [run.info.status for run in runs()] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize(
    ("rerun", "statuses", "told"),
    [("none", ["FINISHED", "FINISHED"], "to resume 2"), ("failed", ["FAILED"] * 2 + ["FINISHED"] * 2, "to run 2")],
)
def test_broken_cells_go_on_unless_they_are_to_be_run_anew(
    workplace: Path,
    small: list[str],
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rerun: str,
    statuses: list[str],
    told: str,
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    breaks_at(3, monkeypatch, study)
    assert "RuntimeError" in runs()[0].data.tags[keys.CAUSE]
    capsys.readouterr()
    assert main([*study, f"study.rerun={rerun}"]) == 0
    assert told in in_words(capsys.readouterr().out)
    assert [run.info.status for run in runs()] == statuses
    assert main([*study, "study.rerun=failed"]) == 0
    assert len(runs()) == len(statuses), "what has finished is not what failed"
    assert main([*study, "study.rerun=all"]) == 0
    assert len(runs()) == len(statuses) + 2


def test_what_finished_is_compared_though_a_cell_failed(
    workplace: Path, small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from winnow.training import MaskedLanguageModule

    def fails(module: MaskedLanguageModule) -> None:
        if module.seed == 3:
            raise MemoryError("no room for seed 3")

    monkeypatch.setattr(MaskedLanguageModule, "on_train_start", fails)
    study = ["train", "-m", "filter=full,nike_positive", "seed=1,2,3", "study.name=mine", *small]
    assert main(study) == 1
    told = in_words(capsys.readouterr().out)
    assert "missing full seed 3" in told
    assert "missing nike_positive seed 3" in told
    assert "2 cells failed" in told
    assert told.count("no room for seed 3") == 4, "once when it happened and once at the end, for each"
    comparison = json.loads((workplace / "outputs/mine/comparison/comparison.json").read_text())
    assert comparison["missing_seeds"] == {"full": [3], "nike_positive": [3]}


def test_a_name_takes_more_seeds_and_arms_and_no_other_settings(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["train", "-m", "filter=full,nike_positive", "study.name=mine", *small]
    assert main([*study, "seed=1"]) == 0
    assert main([*study, "seed=1,2"]) == 0
    before = [run.info.run_id for run in runs()]
    assert len(before) == 4
    assert len(runs("study")) == 2, "each declaration is kept"
    capsys.readouterr()
    assert main([*study, "seed=1,2", "training.max_steps=5", "dataset.source.rows=1400"]) == 1
    told = in_words(capsys.readouterr().err)
    assert "study.name" in told
    assert "training.max_steps: was 4 in the finished cells of study 'mine', and is 5 now" in told
    assert [run.info.run_id for run in runs()] == before
    unwritten = ["masking.mask_share=0.7", "optimizer.betas=[0.9,0.98]", "training.freeze=[distilbert.embeddings]"]
    assert main([*study, "seed=1,2", *unwritten]) == 1
    told = in_words(capsys.readouterr().err)
    assert "masking.mask_share: was 0.8 in the finished cells of study 'mine', and is 0.7 now" in told
    assert "optimizer.betas: was [0.9, 0.999] in the finished cells of study 'mine', and is [0.9, 0.98] now" in told
    assert "training.freeze: was [] in" in told
    assert main([*study, "seed=1,2", "dataset.source.rows=1400"]) == 1
    assert "dataset: the rows are not those" in in_words(capsys.readouterr().err)


def test_finished_cells_of_another_commit_are_kept_with_a_word_on_it(
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
    assert f"made by commit {first[:10]}, while the code is at" in in_words(capsys.readouterr().out)
    assert len(runs()) == 1


def test_a_database_that_another_program_holds_is_named_and_nothing_finished_is_lost(
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
    told = in_words(capsys.readouterr().err)
    assert "tracking.uri" in told
    assert "locked" in told
    assert [run.info.status for run in runs()] == ["FINISHED"]


def test_a_clock_that_jumps_back_confuses_nothing(
    workplace: Path, small: list[str], runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    breaks_at(3, monkeypatch, study)
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() - 86400)
    assert main(study) == 0
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]
    assert all(run.info.end_time >= run.info.start_time for run in runs())
    assert all(0 < run.data.metrics["final/seconds"] < 600 for run in runs())
    assert main(study) == 0
    assert len(runs()) == 2


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint_costs_one_cell_and_no_finished_one(
    workplace: Path, small: list[str], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    study = [*CELLS, *small, "study.name=mine"]
    assert main([*study, "seed=1"]) == 0
    # No file may grow beyond this: the database stays below it, the checkpoint of this larger model does not.
    wide = [*study, "seed=1,2", "model.hidden_size=256", "study.name=mine"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, hard))
    try:
        assert main(wide) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    told = in_words(capsys.readouterr().out)
    assert "the checkpoint of step 2 cannot be written" in told
    assert "2 cells failed" in told
    assert "Free some disk space" in told
    assert [run.info.status for run in runs()] == ["FINISHED", "FAILED", "FAILED"]
    assert main(wide) == 0
    assert [run.info.status for run in runs()][:1] == ["FINISHED"]
    assert sum(run.info.status == "FINISHED" for run in runs()) == 3
