"""Real processes that track a run and then die, and real servers that do."""

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

from winnow.tracking import Store

Began = tuple[subprocess.Popen[str], str]


@pytest.fixture
def begin(store: Store, tmp_path: Path) -> Iterator[Callable[..., Began]]:
    """Start a process that begins a run, does what is asked and sleeps; return it and the run's id."""
    started: list[subprocess.Popen[str]] = []

    def begin(does: str = "pass", of: Store = store, **arguments: str) -> Began:
        code = (
            "import time\n"
            "from winnow.tracking import Store, track\n"
            f"store = Store(uri={of.uri!r}, artifacts={of.artifacts!r})\n"
            f"with track(store, store.experiment('study'), 'x', {{}}, **{arguments!r}) as run:\n"
            f"    {does}\n"
            "    print(run.run_id, flush=True)\n"
            "    time.sleep(120)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield begin
    for process in started:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A real `mlflow server` on loopback, which can be killed and started again on the same port."""

    def __init__(self, folder: Path, backend: str, *options: str) -> None:
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = folder / "server.log"
        where = ["--backend-store-uri", backend, "--artifacts-destination", str(folder / "server_artifacts")]
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self._command = [sys.executable, "-m", "mlflow", "server", *where, *listen, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        # Without its runners of jobs, which nothing here needs, a server starts in a third of the time.
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
        """Let the server accept connections and answer none."""
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
    """Find a port on which nothing listens."""
    return _free_port


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a tracking server on a backend; it is killed at the end."""
    servers: list[Server] = []

    def serve(backend: str, *options: str) -> Server:
        servers.append(Server(tmp_path, backend, *options))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.kill()
