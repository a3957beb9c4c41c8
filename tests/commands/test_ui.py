"""`winnow ui` as a process: when it announces its server, and what it leaves behind."""

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
    """Start `winnow ui` on a port; it is killed at the end, with what it started."""
    started: list[subprocess.Popen[str]] = []

    def start(port: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "winnow", "ui", f"port={port}"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
        process.communicate()


Start = Callable[[int], subprocess.Popen[str]]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_server_is_announced_once_it_answers_and_ends_with_the_command(start: Start, signum: int) -> None:
    port = free_port()
    process = start(port)
    assert process.stdout is not None
    assert any(f"MLflow on http://127.0.0.1:{port}" in line for line in process.stdout), "MLflow prints too"
    assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10).status == 200
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    process.send_signal(signum)
    assert process.wait(60) == (128 + signum if signum == signal.SIGTERM else 0)
    psutil.wait_procs(started, timeout=10)
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_a_port_that_is_taken_is_reported(start: Start) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        process = start(server.getsockname()[1])
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "winnow: port: cannot listen" in told
