"""Servers that stop responding while a command reads a study: the command fails within seconds."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.tracking import keys
from winnow.tracking.offline import request_timeouts

CHECK_SECONDS = 1


@contextmanager
def serve_until(silent_path: str) -> Iterator[tuple[str, list[str]]]:
    """Serve MLflow's API. From the first request whose path contains a text, no request gets a response.

    Yields:
        The URL of the server, and the list of paths without a response.
    """
    from mlflow.server import app
    from werkzeug.serving import make_server

    unanswered: list[str] = []
    test_ended = threading.Event()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if unanswered or silent_path in environ["PATH_INFO"]:
            unanswered.append(environ["PATH_INFO"])
            test_ended.wait(60)
        return app(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", unanswered
    test_ended.set()
    server.shutdown()


@pytest.fixture
def served_study(planted_store: Any, planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study that the server's API serves together with its artifacts."""
    from mlflow.server import handlers

    folder = tmp_path / "server"
    folder.mkdir()
    with (
        closing(sqlite3.connect(planted_store.folder / "mlflow.db")) as source,
        closing(sqlite3.connect(folder / "server.db")) as copy,
    ):
        source.backup(copy)
        root = (planted_store.folder / "artifacts").as_uri()
        copy.execute("UPDATE runs SET artifact_uri = REPLACE(artifact_uri, ?, 'mlflow-artifacts:')", [root])
        copy.commit()
    shutil.copytree(planted_store.folder / "artifacts", folder / "artifacts")
    monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{folder}/server.db")
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder / "artifacts"))
    monkeypatch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
    for name in ("_tracking_store", "_artifact_repo"):
        monkeypatch.setattr(handlers, name, None)
    monkeypatch.setattr(request_timeouts, "CHECK_TIMEOUT_SECONDS", CHECK_SECONDS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("silent_path", ["runs/search", keys.ROW_SCORES, "metrics/get-history"])
def test_a_comparison_fails_within_seconds_if_the_server_stops_responding(
    served_study: Path, silent_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve_until(silent_path) as (uri, unanswered):
        code = main(["compare", "study=planted", "tracking=server", f"tracking.uri={uri}"])
        assert (code, silent_path in unanswered[0]) == (1, True)
        assert len(unanswered) == 2, "the request, and one request that checks the server"
    message = " ".join(capsys.readouterr().err.split())
    assert message.startswith("winnow: tracking.uri: the tracking server accepted the request but did not respond.")
    assert "run the same command again" in message


def test_a_long_call_is_not_abandoned_while_the_server_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_timeouts, "REQUEST_TIMEOUT_SECONDS", 0.02)
    checks: list[int] = []
    finished = threading.Event()

    def check() -> None:
        checks.append(len(checks))
        if len(checks) == 5:
            finished.set()

    assert request_timeouts.call_while_server_responds(lambda: finished.wait(30), check)
    assert len(checks) >= 5


@pytest.mark.slow
def test_python_does_not_wait_for_abandoned_calls_at_exit() -> None:
    script = """
import time
from concurrent.futures import ThreadPoolExecutor
from winnow.tracking.offline.request_timeouts import NoResponseError, call_with_timeout
pools = []
def transfer():
    pools.append(ThreadPoolExecutor(1))
    pools[0].submit(time.sleep, 60).result()
try:
    call_with_timeout(0.1, transfer)
except NoResponseError:
    print("abandoned")
"""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("abandoned\n", "")
    assert time.monotonic() - started < 40
