"""`winnow ui` as a process: it prints the address when the server is ready, and stops the server."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def start(workplace: Path) -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Return a function that starts `winnow ui` on a port; its processes are killed after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "winnow", "ui", f"port={port}"]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # A shell starts background jobs with SIGINT ignored, and children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for child in [*psutil.Process(process.pid).children(recursive=True), process]:
                child.kill()
        process.communicate()


Start = Callable[[int], subprocess.Popen[str]]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_address_is_printed_when_the_server_is_ready_and_the_server_stops_with_the_command(
    start: Start, signum: int
) -> None:
    port = free_port()
    process = start(port)
    assert process.stdout is not None
    assert any(f"MLflow is running on http://127.0.0.1:{port}" in line for line in process.stdout), "MLflow prints too"
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).status == 200
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.send_signal(signum)
    assert process.wait(60) == (128 + signum if signum == signal.SIGTERM else 0)
    psutil.wait_procs(started, timeout=10)
    assert not [child for child in started if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_port_in_use_is_reported(start: Start) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        process = start(server.getsockname()[1])
        _, message = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "winnow: port: cannot listen" in message
