"""Servers that die, reject requests or hang during a run."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.errors import WinnowError
from winnow.tracking import Store, keys, sync, track
from winnow.tracking.offline.request_timeouts import REQUEST_TIMEOUT_SECONDS
from winnow.tracking.offline.run_writer import MlflowWriter
from winnow.tracking.offline.spool import RunStart
from winnow.tracking.process.run_ownership import RunOwner
from winnow.tracking.tracked_run import TrackedRun

RUN = RunStart("0" * 32, "1", "x", {keys.RUN_OWNER: RunOwner.this_process().to_tag()}, 0)


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def fake_server() -> Iterator[Callable[[int | None], str]]:
    """Return a function that starts a server with one fixed response status, or none, and returns its URL."""
    servers: list[ThreadingHTTPServer] = []
    test_ended = threading.Event()

    def start(status: int | None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if status is None:
                    test_ended.wait(30)
                    return
                body = b"<html>not what you expect</html>"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - names required by http.server

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    test_ended.set()
    for server in servers:
        server.shutdown()
        server.server_close()


MESSAGES = [
    (500, "returned error 500"),
    (403, "--allowed-hosts"),
    (401, "MLFLOW_TRACKING_USERNAME"),
    (404, "no MLflow server at this address"),
    (None, "did not respond"),
]


@pytest.mark.parametrize(("status", "expected"), MESSAGES)
def test_check_reports_an_unusable_server(
    fake_server: Callable[[int | None], str], status: int | None, expected: str, tmp_path: Path
) -> None:
    (error,) = Store(uri=fake_server(status), spool=str(tmp_path)).check()
    assert error.key == "uri"
    assert expected in error.message


def test_an_unreachable_server_is_an_error_before_any_work(
    tmp_path: Path, find_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"http://ann:secret@127.0.0.1:{find_port()}"
    assert main(["train", "tracking=server", f"tracking.uri={uri}"]) == 1
    output = capsys.readouterr().err
    assert "tracking.uri: no tracking server responds" in " ".join(output.split())
    assert "secret" not in output
    assert not (tmp_path / "outputs/cache").exists()


@pytest.mark.parametrize("status", [500, 403, None])
def test_a_run_continues_and_spools_its_logs_if_the_server_fails(
    fake_server: Callable[[int | None], str], status: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(uri=fake_server(status), spool=str(tmp_path / "unsent"))
    run = TrackedRun(MlflowWriter(store.connect(), store.uri, store.spool_folder, RUN))
    durations = []
    for step in range(2000):
        started = time.perf_counter()
        run.log_metrics({"train/loss": 1 / (step + 1)}, step)
        durations.append(time.perf_counter() - started)
    assert max(durations) < 0.5, "a step does not wait for the server"
    run.flush()
    run.log_json({"kept": 3}, "filter/summary.json")
    run.log_params({"lr": 0.1})
    run.flush()
    assert capsys.readouterr().err.count("winnow sync") == 1, "the warning is printed once"
    assert not run.send_spooled()
    operations = [json.loads(line) for line in (store.spool_folder / RUN.run_id / "operations.jsonl").open()]
    assert [operation["do"] for operation in operations] == ["metrics", "artifact", "params"]
    assert len(operations[0]["values"]) == 2000
    copy = store.spool_folder / RUN.run_id / operations[1]["file"]
    assert json.loads(copy.read_text()) == {"kept": 3}
    with pytest.raises(WinnowError, match="uri"):
        sync(store)


@pytest.mark.slow
def test_a_run_waits_one_second_for_a_hanging_server_and_sends_its_logs_later(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri, spool=str(tmp_path / "unsent"))
    experiment = store.experiment("study")
    with track(store, experiment, "hangs", {}) as run:
        server.stop()
        started = time.monotonic()
        run.log_metrics({"train/loss": 1.0}, 1)
        run.log_params({"lr": 0.1})
        run.set_tags({"phase": "offline"})
        run.log_text("report", "report.txt")
        run.flush()
        assert not run.send_spooled()
        assert store.experiment("study") == experiment
        assert time.monotonic() - started < 2 * REQUEST_TIMEOUT_SECONDS + 1.5  # the last two calls take one second each
        server.resume()
        deadline = time.monotonic() + 30
        while not run.send_spooled():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert store.client().get_run(run.run_id).data.tags["phase"] == "offline"
        run.set_tags({"phase": "online"})
    assert capsys.readouterr().err.count("cannot log to the store") == 1
    stored_run = store.client().get_run(run.run_id)
    assert (stored_run.info.status, stored_run.data.params, stored_run.data.tags["phase"]) == (
        "FINISHED",
        {"lr": "0.1"},
        "online",
    )
    assert len(store.client().get_metric_history(run.run_id, "train/loss")) == 1
    assert not list(store.spool_folder.glob("*/run.json"))


def test_a_restarted_server_receives_every_value_once(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri)
    experiment = store.experiment("study")
    with track(store, experiment, "the study", {}) as parent:
        parent.log_params({"before": 1})
        server.kill()
        assert store.experiment("study") == experiment, "the experiment id is cached"
        with track(store, experiment, "a cell", {keys.ARM: "full"}, parent.run_id) as cell:
            for step in range(3):
                cell.log_metrics({"train/loss": 3 - step}, step)
                cell.flush()
                time.sleep(0.01)
            cell.log_text("report", "comparison/report.html")
            cell.log_dataset("nike", "0123456789abcdef", "train", 3, {})
        end_time = time.time() * 1000
        parent.set_tags({"phase": "offline"})
        spooled_runs = list(store.spool_folder.glob("*/run.json"))
        assert len(spooled_runs) == 2
        assert main(["sync", "tracking=server", f"tracking.uri={server.uri}"]) == 1
        assert "no tracking server responds" in " ".join(capsys.readouterr().err.split())
        shutil.copytree(store.spool_folder / cell.run_id, tmp_path / "copy")
        server.start()
        parent.send_spooled()
        assert store.client().get_run(parent.run_id).data.tags["phase"] == "offline", (
            "spooled tags are sent during the run"
        )
    assert main(["sync", "tracking=server", f"tracking.uri={server.uri}"]) == 0
    assert "a cell was sent" in capsys.readouterr().out
    # Simulate a spool that could not be removed after it was sent.
    shutil.copytree(tmp_path / "copy", store.spool_folder / cell.run_id)
    assert len(sync(store)) == 1
    assert sync(store) == []
    client = store.client()
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"the study", "a cell"}
    stored_run = runs["a cell"]
    assert stored_run.data.tags["mlflow.parentRunId"] == runs["the study"].info.run_id == parent.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert stored_run.info.start_time < stored_run.info.end_time <= end_time
    history = client.get_metric_history(stored_run.info.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert all(stored_run.info.start_time <= point.timestamp <= stored_run.info.end_time for point in history)
    assert len({point.timestamp for point in history}) == 3
    assert [entry.dataset.digest for entry in stored_run.inputs.dataset_inputs] == ["0123456789abcdef"]
    report = client.download_artifacts(stored_run.info.run_id, "comparison/report.html", str(tmp_path))
    assert Path(report).read_text() == "report"
