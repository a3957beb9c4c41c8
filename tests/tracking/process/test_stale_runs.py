"""Runs whose process died without a word, told from those that live."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from winnow.errors import WinnowError
from winnow.tracking import Store, close_stale_runs, keys, track
from winnow.tracking.process import ownership
from winnow.tracking.process.ownership import HEARTBEAT_TIMEOUT_SECONDS, RunOwner, acquire_run


def status_of(store: Store, run_id: str) -> str:
    return str(store.client().get_run(run_id).info.status)


def test_a_killed_run_is_ended_at_the_next_start_and_a_live_one_is_not(
    store: Store, begin: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    killed, lost = begin("run.log_metrics({'train/loss': 1.0}, 3); run.flush()")
    living, alive = begin()
    killed.kill()
    # Not waited for: a process that its parent has not asked about still has an entry, as a zombie.
    time.sleep(0.2)
    (told,) = close_stale_runs(store, store.experiment("study"))
    assert lost in told
    run = store.client().get_run(lost)
    assert run.info.status == "KILLED"
    assert f"process {killed.pid}" in run.data.tags[keys.FAILURE_REASON]
    assert run.info.start_time <= run.info.end_time <= time.time() * 1000
    assert run.data.metrics["train/loss"] == 1.0
    assert status_of(store, alive) == "RUNNING"
    assert living.poll() is None
    assert close_stale_runs(store, store.experiment("study")) == []


def test_runs_of_this_process_and_of_other_programs_are_left_alone(store: Store) -> None:
    experiment = store.experiment("study")
    other = store.client().create_run(experiment).info.run_id
    with track(store, experiment, "x", {}) as run:
        assert close_stale_runs(store, experiment) == []
        assert status_of(store, run.run_id) == status_of(store, other) == "RUNNING"


def test_a_process_id_that_was_given_away_again_is_no_sign_of_life() -> None:
    here = RunOwner.this_process()
    assert here.termination_reason("x", 0) is None
    reused = dataclasses.replace(here, started=str(int(here.started) - 1))
    assert "is gone" in str(reused.termination_reason("x", 0))


def test_another_boot_is_another_life() -> None:
    rebooted = dataclasses.replace(RunOwner.this_process(), boot="another")
    assert "started anew" in str(rebooted.termination_reason("x", silent_seconds=600))
    assert rebooted.termination_reason("x", silent_seconds=1) is None, "a machine of the same name that lives"


@pytest.mark.parametrize("field", ["host", "namespace"])
def test_on_other_machines_only_silence_counts(field: str) -> None:
    elsewhere = dataclasses.replace(RunOwner.this_process(), **{field: "another"}, pid=2**22 + 1)
    assert elsewhere.termination_reason("x", HEARTBEAT_TIMEOUT_SECONDS - 1) is None
    assert elsewhere.termination_reason("x", -3600) is None, "a clock that is ahead of ours"
    assert "no sign of life for 15 minutes" in str(elsewhere.termination_reason("x", HEARTBEAT_TIMEOUT_SECONDS + 1))


def test_without_knowledge_of_processes_the_lock_decides(
    begin: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    process, run_id = begin()
    unknown = dataclasses.replace(RunOwner.this_process(), started="")
    assert unknown.termination_reason(run_id, 0) is None
    process.kill()
    process.wait()
    assert unknown.termination_reason(run_id, 0) is not None


@pytest.mark.slow
def test_a_child_that_outlives_its_parent_holds_no_lock(store: Store) -> None:
    code = (
        "import os, time\n"
        "from winnow.tracking.process.ownership import acquire_run\n"
        "with acquire_run('forked'):\n"
        "    if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    try:
        with acquire_run("forked"):
            pass
    finally:
        os.killpg(process.pid, 9)


def test_signs_of_life_are_given_while_a_run_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.tracking.lifecycle.SEND_SECONDS", 0.05)
    monkeypatch.setattr("winnow.tracking.lifecycle.HEARTBEAT_SECONDS", 0.05)
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"train/loss": 2.0}, 1)
        deadline = time.monotonic() + 20
        while not (found := store.client().get_run(run.run_id)).data.metrics or keys.HEARTBEAT not in found.data.tags:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert abs(int(found.data.tags[keys.HEARTBEAT]) - time.time() * 1000) < 60_000


def test_a_run_that_another_process_works_on_is_not_taken_up(
    store: Store,
    begin: Callable[..., tuple[subprocess.Popen[str], str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(ownership, "LOCK_TIMEOUT_SECONDS", 0.1)
    process, run_id = begin()
    with (
        pytest.raises(WinnowError, match="worked on by another process"),
        track(store, store.experiment("study"), "x", {}, run_id=run_id),
    ):
        pass
    # Where the lock is out of sight, as with a temporary folder of one's own, the owner still counts.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with (
        pytest.raises(WinnowError, match=f"worked on by process {process.pid}"),
        track(store, store.experiment("study"), "x", {}, run_id=run_id),
    ):
        pass
    assert status_of(store, run_id) == "RUNNING"


def test_a_broken_run_is_taken_up_and_holds_everything_once(
    store: Store, begin: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    process, run_id = begin(
        "run.log_params({'lr': 0.1, 'devices': 1}); [run.log_metrics({'train/loss': 9 - s}, s) for s in range(3)];"
        " run.flush()"
    )
    process.kill()
    process.wait()
    experiment, client = store.experiment("study"), store.client()
    close_stale_runs(store, experiment)
    with track(store, experiment, "another name", {keys.ARM: "full"}, run_id=run_id) as run:
        found = client.get_run(run_id)
        assert (found.info.status, found.info.run_name) == ("RUNNING", "x")
        assert keys.FAILURE_REASON not in found.data.tags
        assert json.loads(found.data.tags[keys.OWNER])["pid"] == os.getpid()
        run.log_params({"lr": 0.1, "devices": 2, "new": 3})
        for step in range(2, 5):
            run.log_metrics({"train/loss": 9 - step}, step)
    found = client.get_run(run_id)
    assert (found.info.status, found.data.tags[keys.ATTEMPTS]) == ("FINISHED", "2")
    assert found.data.params == {"lr": "0.1", "devices": "1", "new": "3"}
    assert json.loads(found.data.tags[keys.CHANGED_PARAMS]) == {"devices": "2"}
    history = client.get_metric_history(run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 9 - step) for step in range(5)]
    assert len(client.search_runs([experiment])) == 1


def test_a_run_that_is_gone_cannot_be_taken_up(store: Store) -> None:
    experiment = store.experiment("study")
    with track(store, experiment, "x", {}) as run:
        pass
    store.client().delete_run(run.run_id)
    for gone, told in ((run.run_id, "was deleted"), ("0" * 32, "there is no run")):
        with pytest.raises(WinnowError, match=told), track(store, experiment, "x", {}, run_id=gone):
            pass


def test_a_clock_that_is_set_back_does_not_end_a_run_before_it_began(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"train/loss": 2.0}, 1)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 86_400)
        run.log_metrics({"train/loss": 1.0}, 2)
    monkeypatch.undo()
    info = store.client().get_run(run.run_id).info
    assert info.start_time <= info.end_time
    first, second = store.client().get_metric_history(run.run_id, "train/loss")
    assert first.timestamp <= second.timestamp
