"""Stale runs, whose process was killed, and runs whose process is alive."""

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
from winnow.tracking.process import run_ownership
from winnow.tracking.process.run_ownership import HEARTBEAT_TIMEOUT_SECONDS, RunOwner, acquire_run


def status_of(store: Store, run_id: str) -> str:
    return str(store.client().get_run(run_id).info.status)


def test_close_stale_runs_ends_a_killed_run_but_not_a_live_one(
    store: Store, start_run: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    killed_process, killed_run = start_run("run.log_metrics({'train/loss': 1.0}, 3); run.flush()")
    live_process, live_run = start_run()
    killed_process.kill()
    # The test does not wait for the process, which therefore remains as a zombie.
    time.sleep(0.2)
    (message,) = close_stale_runs(store, store.experiment("study"))
    assert killed_run in message
    run = store.client().get_run(killed_run)
    assert run.info.status == "KILLED"
    assert f"process {killed_process.pid}" in run.data.tags[keys.FAILURE_REASON]
    assert run.info.start_time <= run.info.end_time <= time.time() * 1000
    assert run.data.metrics["train/loss"] == 1.0
    assert status_of(store, live_run) == "RUNNING"
    assert live_process.poll() is None
    assert close_stale_runs(store, store.experiment("study")) == []


def test_close_stale_runs_skips_runs_of_this_process_and_of_other_programs(store: Store) -> None:
    experiment = store.experiment("study")
    foreign_run = store.client().create_run(experiment).info.run_id
    with track(store, experiment, "x", {}) as run:
        assert close_stale_runs(store, experiment) == []
        assert status_of(store, run.run_id) == status_of(store, foreign_run) == "RUNNING"


def test_a_reused_process_id_does_not_count_as_alive() -> None:
    this_process = RunOwner.this_process()
    assert this_process.termination_reason("x", 0) is None
    earlier_process = dataclasses.replace(this_process, started=str(int(this_process.started) - 1))
    assert "no longer exists" in str(earlier_process.termination_reason("x", 0))


def test_a_process_from_before_a_restart_counts_as_dead() -> None:
    process_before_restart = dataclasses.replace(RunOwner.this_process(), boot="another")
    assert "restarted" in str(process_before_restart.termination_reason("x", seconds_since_heartbeat=600))
    assert process_before_restart.termination_reason("x", seconds_since_heartbeat=1) is None, (
        "a live machine with the same host name"
    )


@pytest.mark.parametrize("field", ["host", "namespace"])
def test_a_process_on_another_machine_is_dead_only_after_the_heartbeat_timeout(field: str) -> None:
    remote = dataclasses.replace(RunOwner.this_process(), **{field: "another"}, pid=2**22 + 1)
    assert remote.termination_reason("x", HEARTBEAT_TIMEOUT_SECONDS - 1) is None
    assert remote.termination_reason("x", -3600) is None, "the remote clock is ahead"
    assert "for 15 minutes" in str(remote.termination_reason("x", HEARTBEAT_TIMEOUT_SECONDS + 1))


def test_the_lock_decides_if_the_process_start_time_is_unknown(
    start_run: Callable[..., tuple[subprocess.Popen[str], str]],
) -> None:
    process, run_id = start_run()
    process_without_start_time = dataclasses.replace(RunOwner.this_process(), started="")
    assert process_without_start_time.termination_reason(run_id, 0) is None
    process.kill()
    process.wait()
    assert process_without_start_time.termination_reason(run_id, 0) is not None


@pytest.mark.slow
def test_a_child_that_outlives_its_parent_does_not_hold_the_lock(store: Store) -> None:
    code = (
        "import os, time\n"
        "from winnow.tracking.process.run_ownership import acquire_run\n"
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


def test_metrics_and_heartbeats_are_sent_during_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.tracking.run_lifecycle.SEND_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("winnow.tracking.run_lifecycle.HEARTBEAT_INTERVAL_SECONDS", 0.05)
    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"train/loss": 2.0}, 1)
        deadline = time.monotonic() + 20
        while (
            not (stored_run := store.client().get_run(run.run_id)).data.metrics
            or keys.HEARTBEAT not in stored_run.data.tags
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert abs(int(stored_run.data.tags[keys.HEARTBEAT]) - time.time() * 1000) < 60_000


def test_a_run_of_another_live_process_cannot_be_resumed(
    store: Store,
    start_run: Callable[..., tuple[subprocess.Popen[str], str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(run_ownership, "LOCK_TIMEOUT_SECONDS", 0.1)
    process, run_id = start_run()
    with (
        pytest.raises(WinnowError, match="executed by another process"),
        track(store, store.experiment("study"), "x", {}, run_id=run_id),
    ):
        pass
    # With another temporary folder the lock file is not visible, but the owner tag is.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with (
        pytest.raises(WinnowError, match=f"executed by process {process.pid}"),
        track(store, store.experiment("study"), "x", {}, run_id=run_id),
    ):
        pass
    assert status_of(store, run_id) == "RUNNING"


def test_a_resumed_run_contains_every_value_once(
    store: Store, start_run: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    process, run_id = start_run(
        "run.log_params({'lr': 0.1, 'devices': 1}); [run.log_metrics({'train/loss': 9 - s}, s) for s in range(3)];"
        " run.flush()"
    )
    process.kill()
    process.wait()
    experiment, client = store.experiment("study"), store.client()
    close_stale_runs(store, experiment)
    with track(store, experiment, "another name", {keys.ARM: "full"}, run_id=run_id) as run:
        stored_run = client.get_run(run_id)
        assert (stored_run.info.status, stored_run.info.run_name) == ("RUNNING", "x")
        assert keys.FAILURE_REASON not in stored_run.data.tags
        assert json.loads(stored_run.data.tags[keys.RUN_OWNER])["pid"] == os.getpid()
        run.log_params({"lr": 0.1, "devices": 2, "new": 3})
        for step in range(2, 5):
            run.log_metrics({"train/loss": 9 - step}, step)
    stored_run = client.get_run(run_id)
    assert (stored_run.info.status, stored_run.data.tags[keys.ATTEMPTS]) == ("FINISHED", "2")
    assert stored_run.data.params == {"lr": "0.1", "devices": "1", "new": "3"}
    assert json.loads(stored_run.data.tags[keys.CHANGED_PARAMS]) == {"devices": "2"}
    history = client.get_metric_history(run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 9 - step) for step in range(5)]
    assert len(client.search_runs([experiment])) == 1


def test_a_deleted_or_unknown_run_cannot_be_resumed(store: Store) -> None:
    experiment = store.experiment("study")
    with track(store, experiment, "x", {}) as run:
        pass
    store.client().delete_run(run.run_id)
    for run_id, message in ((run.run_id, "was deleted"), ("0" * 32, "there is no run")):
        with pytest.raises(WinnowError, match=message), track(store, experiment, "x", {}, run_id=run_id):
            pass


def test_setting_back_the_clock_does_not_end_a_run_before_its_start(
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
