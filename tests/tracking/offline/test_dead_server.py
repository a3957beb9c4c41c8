"""Servers that die, refuse or keep silent while a run goes on."""

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
from winnow.tracking.offline.run_writer import MlflowWriter
from winnow.tracking.offline.spool import RunStart
from winnow.tracking.offline.timeouts import REQUEST_TIMEOUT_SECONDS
from winnow.tracking.process.ownership import RunOwner
from winnow.tracking.tracked_run import TrackedRun

RUN = RunStart("0" * 32, "1", "x", {keys.OWNER: RunOwner.this_process().to_tag()}, 0)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def answering() -> Iterator[Callable[[int | None], str]]:
    """Start a server that gives one answer to everything, or none at all; return its address."""
    servers: list[ThreadingHTTPServer] = []
    over = threading.Event()

    def answering(status: int | None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if status is None:
                    over.wait(30)
                    return
                body = b"<html>not what you expect</html>"
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield answering
    over.set()
    for server in servers:
        server.shutdown()
        server.server_close()


WORDS = [
    (500, "answers with error 500"),
    (403, "--allowed-hosts"),
    (401, "MLFLOW_TRACKING_USERNAME"),
    (404, "no MLflow at this address"),
    (None, "gives no answer"),
]


@pytest.mark.parametrize(("status", "words"), WORDS)
def test_a_server_that_is_no_use_is_told_before_any_work(
    answering: Callable[[int | None], str], status: int | None, words: str, tmp_path: Path
) -> None:
    (fault,) = Store(uri=answering(status), spool=str(tmp_path)).check()
    assert fault.key == "uri"
    assert words in fault.message


def test_a_server_that_is_not_there_is_told_before_any_work(
    tmp_path: Path, find_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"http://ann:secret@127.0.0.1:{find_port()}"
    assert main(["train", "tracking=server", f"tracking.uri={uri}"]) == 1
    told = capsys.readouterr().err
    assert "tracking.uri: no tracking server answers" in " ".join(told.split())
    assert "secret" not in told
    assert not (tmp_path / "outputs/cache").exists()


@pytest.mark.parametrize("status", [500, 403, None])
def test_no_answer_of_a_server_stops_a_run_or_loses_what_it_logs(
    answering: Callable[[int | None], str], status: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(uri=answering(status), spool=str(tmp_path / "unsent"))
    run = TrackedRun(MlflowWriter(store.connect(), store.uri, store.spool_folder, RUN))
    waited = []
    for step in range(2000):
        begun = time.perf_counter()
        run.log_metrics({"train/loss": 1 / (step + 1)}, step)
        waited.append(time.perf_counter() - begun)
    assert max(waited) < 0.5, "a step waits for nobody"
    run.flush()
    run.log_json({"kept": 3}, "filter/summary.json")
    run.log_params({"lr": 0.1})
    run.flush()
    assert capsys.readouterr().err.count("winnow sync") == 1, "told once"
    assert not run.send_spooled()
    kept = [json.loads(line) for line in (store.spool_folder / RUN.run_id / "operations.jsonl").open()]
    assert [operation["do"] for operation in kept] == ["metrics", "artifact", "params"]
    assert len(kept[0]["values"]) == 2000
    copy = store.spool_folder / RUN.run_id / kept[1]["file"]
    assert json.loads(copy.read_text()) == {"kept": 3}
    with pytest.raises(WinnowError, match="uri"):
        sync(store)


@pytest.mark.slow
def test_a_server_that_hangs_is_waited_for_a_second_in_total_and_has_everything_later(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "8")
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri, spool=str(tmp_path / "unsent"))
    experiment = store.experiment("study")
    with track(store, experiment, "hangs", {}) as run:
        server.stop()
        begun = time.monotonic()
        run.log_metrics({"train/loss": 1.0}, 1)
        run.log_params({"lr": 0.1})
        run.set_tags({"told": "offline"})
        run.log_text("report", "report.txt")
        run.flush()
        assert not run.send_spooled()
        assert store.experiment("study") == experiment
        assert time.monotonic() - begun < 2 * REQUEST_TIMEOUT_SECONDS + 1.5  # of which a second each for the last two
        server.resume()
        deadline = time.monotonic() + 30
        while not run.send_spooled():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert store.client().get_run(run.run_id).data.tags["told"] == "offline"
        run.set_tags({"told": "again"})
    assert capsys.readouterr().err.count("does not take") == 1
    found = store.client().get_run(run.run_id)
    assert (found.info.status, found.data.params, found.data.tags["told"]) == ("FINISHED", {"lr": "0.1"}, "again")
    assert len(store.client().get_metric_history(run.run_id, "train/loss")) == 1
    assert not list(store.spool_folder.glob("*/run.json"))


def test_a_server_that_dies_and_comes_back_has_everything_once(
    serve: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    server = serve(f"sqlite:///{tmp_path}/server.db")
    store = Store(uri=server.uri)
    experiment = store.experiment("study")
    with track(store, experiment, "the study", {}) as parent:
        parent.log_params({"before": 1})
        server.kill()
        assert store.experiment("study") == experiment, "the next cell finds its experiment without the server"
        with track(store, experiment, "a cell", {keys.ARM: "full"}, parent.run_id) as cell:
            for step in range(3):
                cell.log_metrics({"train/loss": 3 - step}, step)
                cell.flush()
                time.sleep(0.01)
            cell.log_text("report", "comparison/report.html")
            cell.log_dataset("nike", "0123456789abcdef", "train", 3, {})
        ended = time.time() * 1000
        parent.set_tags({"told": "offline"})
        waiting = list(store.spool_folder.glob("*/run.json"))
        assert len(waiting) == 2
        assert main(["sync", "tracking=server", f"tracking.uri={server.uri}"]) == 1
        assert "no tracking server answers" in " ".join(capsys.readouterr().err.split())
        shutil.copytree(store.spool_folder / cell.run_id, tmp_path / "copy")
        server.start()
        parent.send_spooled()
        assert store.client().get_run(parent.run_id).data.tags["told"] == "offline", "it is sent while the run goes on"
    assert main(["sync", "tracking=server", f"tracking.uri={server.uri}"]) == 0
    assert "a cell was sent" in capsys.readouterr().out
    # As if the folder could not be removed after it was sent.
    shutil.copytree(tmp_path / "copy", store.spool_folder / cell.run_id)
    assert len(sync(store)) == 1
    assert sync(store) == []
    client = store.client()
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"the study", "a cell"}
    found = runs["a cell"]
    assert found.data.tags["mlflow.parentRunId"] == runs["the study"].info.run_id == parent.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert found.info.start_time < found.info.end_time <= ended
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert sorted((point.step, point.value) for point in history) == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert all(found.info.start_time <= point.timestamp <= found.info.end_time for point in history)
    assert len({point.timestamp for point in history}) == 3
    assert [entry.dataset.digest for entry in found.inputs.dataset_inputs] == ["0123456789abcdef"]
    report = client.download_artifacts(found.info.run_id, "comparison/report.html", str(tmp_path))
    assert Path(report).read_text() == "report"
