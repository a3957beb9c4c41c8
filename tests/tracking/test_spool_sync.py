"""`winnow sync` for runs that ended or were resumed while their server was down."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.tracking import Store, keys, sync, track

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def start_python(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    )


def test_sync_sends_a_run_that_ended_without_its_server(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri, spool=str(tmp_path / "unsent"))
    experiment = store.experiment("study")
    code = (
        "from winnow.tracking import Store, track\n"
        f"store = Store(uri={store.uri!r}, spool={store.spool!r})\n"
        f"with track(store, {experiment!r}, 'cell', {{}}) as run:\n"
        "    print(run.run_id, flush=True)\n"
        "    input()\n"
        "    run.log_metrics({'final/loss': 2.0})\n"
    )
    process = start_python(code, tmp_path)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    server.kill()
    process.communicate("continue\n", timeout=60)
    assert process.returncode == 0
    server.start()
    assert len(sync(store)) == 1
    stored_run = store.client().get_run(run_id)
    assert (stored_run.info.status, stored_run.data.metrics["final/loss"]) == ("FINISHED", 2.0)
    assert keys.FAILURE_REASON not in stored_run.data.tags


def test_a_run_can_be_resumed_while_its_server_is_down(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri, spool=str(tmp_path / "unsent"))
    experiment = store.experiment("study")
    code = (
        "import os, signal\n"
        "from winnow.tracking import Store, track\n"
        f"store = Store(uri={store.uri!r}, spool={store.spool!r})\n"
        f"with track(store, {experiment!r}, 'cell', {{}}) as run:\n"
        "    run.log_params({'lr': 0.1})\n"
        "    for step in (1, 2, 3): run.log_metrics({'train/loss': 1 / step}, step)\n"
        "    run.flush()\n"
        "    print(run.run_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = start_python(code, tmp_path)
    run_id = process.communicate(timeout=60)[0].strip()
    server.kill()
    with track(store, experiment, "cell", {"mine": "1"}, run_id=run_id) as run:
        run.log_params({"lr": 0.2, "new": 3})
        for step in (3, 4):
            run.log_metrics({"train/loss": 1 / step}, step)
    server.start()
    assert len(sync(store)) == 1
    client = store.client()
    stored_run = client.get_run(run_id)
    assert stored_run.info.status == "FINISHED"
    assert stored_run.data.params == {"lr": "0.1", "new": "3"}
    assert (stored_run.data.tags["mine"], stored_run.data.tags[keys.ATTEMPTS]) == ("1", "2")
    assert "0.2" in stored_run.data.tags[keys.CHANGED_PARAMS]
    history = client.get_metric_history(run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


def test_no_data_is_lost_if_the_server_dies_after_a_run_was_resumed(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri, spool=str(tmp_path / "unsent"))
    experiment = store.experiment("study")
    runs = []

    def fail() -> None:
        with track(store, experiment, "cell", {}) as run:
            runs.append(run.run_id)
            run.log_metrics({"train/loss": 1.0}, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    (run_id,) = runs
    with track(store, experiment, "cell", {}, run_id=run_id) as resumed_run:
        server.kill()
        for step in (1, 2):
            resumed_run.log_metrics({"train/loss": 1 / step}, step)
    server.start()
    assert len(sync(store)) == 1
    client = store.client()
    assert client.get_run(run_id).info.status == "FINISHED"
    history = client.get_metric_history(run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(1, 1.0), (2, 0.5)]


def test_a_study_whose_server_dies_can_be_completed_without_repeating_cells(
    serve: Callable[..., Any], tmp_path: Path, small: list[str]
) -> None:
    server = serve(f"sqlite:///{tmp_path}/server.db")
    grid = ["train", "-m", "filter=full,nike_positive", "seed=1,2", "study.name=mine", *small]
    command = [sys.executable, "-m", "winnow", *grid, "tracking=server", f"tracking.uri={server.uri}"]
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, env=os.environ)
        cells = tmp_path / "outputs/mine/cells"
        while not any('"finished"' in file.read_text() for file in cells.glob("*/status.json")):
            assert process.poll() is None, (tmp_path / "log.txt").read_text()
        server.kill()
        assert process.wait(timeout=200) == 1
    output = " ".join((tmp_path / "log.txt").read_text().split())
    assert "winnow sync" in output
    assert "finished cells will not be trained again" in output
    assert "Traceback" not in output
    server.start()
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "finished  4" in result.stdout
    client = Store(uri=server.uri, spool=str(tmp_path / "unsent")).client()
    experiment = client.get_experiment_by_name("mine").experiment_id
    runs = client.search_runs([experiment], f"tags.`{keys.KIND}` = 'cell'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert client.search_runs([experiment], f"tags.`{keys.KIND}` = 'comparison'")
