"""Fixtures that start real processes with tracked runs, and real tracking servers."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.databases import copy_database
from winnow.tracking import Store

StartedRun = tuple[subprocess.Popen[str], str]


@pytest.fixture
def start_run(store: Store, tmp_path: Path) -> Iterator[Callable[..., StartedRun]]:
    """Return a function that starts a process with a tracked run; the process executes `code`, then sleeps."""
    processes: list[subprocess.Popen[str]] = []

    def start_run(code: str = "pass", **arguments: str) -> StartedRun:
        script = (
            "import time\n"
            "from winnow.tracking import Store, track\n"
            f"store = Store(uri={store.uri!r}, artifacts={store.artifacts!r})\n"
            f"with track(store, store.experiment('study'), 'x', {{}}, **{arguments!r}) as run:\n"
            f"    {code}\n"
            "    print(run.run_id, flush=True)\n"
            "    time.sleep(120)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start_run
    for process in processes:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return int(connection.getsockname()[1])


class Server:
    """A real `mlflow server` on localhost that can be killed and restarted on the same port."""

    def __init__(self, folder: Path, backend: str, *options: str) -> None:
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = folder / "server.log"
        storage = ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "server_artifacts")]
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self._command = [sys.executable, "-m", "mlflow", "server", *storage, *address, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Without its job runners, which the tests do not need, a server starts three times as fast.
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5)
                return
            except OSError:
                time.sleep(0.2)
        self.kill()
        pytest.fail(f"the server did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Suspend the server, which still accepts connections but does not respond."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def find_port() -> Callable[[], int]:
    """Return a function that finds a free port."""
    return _free_port


@pytest.fixture
def serve(tmp_path: Path, migrated_database: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a tracking server, which is killed after the test."""
    servers: list[Server] = []

    def serve(backend: str, *options: str) -> Server:
        if backend.startswith("sqlite:///") and not (file := Path(backend.removeprefix("sqlite:///"))).exists():
            copy_database(migrated_database, file)  # the server would otherwise create the tables, which takes seconds
        servers.append(Server(tmp_path, backend, *options))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()
