"""`winnow ui`: MLflow's pages over the store, or the address of the server that shows them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from winnow.config import UiConfig, construct
from winnow.errors import WinnowError
from winnow.tracking import Store
from winnow.tracking.mlflow_ui import VIEW_TAG, view_address

STOP_SECONDS = 10
"""How long the server may take to stop before it is killed."""


def run_ui(config: UiConfig) -> int:
    """Serve MLflow's pages until Ctrl-C or SIGTERM, with a link to each recent study's cells; return the exit code."""
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    client = store.client()
    address = store.shown_uri if store.is_server else f"http://{config.host}:{config.port}"
    links = [
        f"{found.name:<20} {view_address(address, found.experiment_id)}"
        for found in client.search_experiments(max_results=5, order_by=["last_update_time DESC"])
        if VIEW_TAG in found.tags
    ]
    if store.is_server:
        print(*links, f"The pages of this store are the server's own: {store.shown_uri}", sep="\n")
        return 0
    _check_port(config)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # six processes that nothing here needs
    where = ["--backend-store-uri", store.tracking_uri, "--host", config.host, "--port", str(config.port)]
    where += ["--workers", "1"]  # four, as for a team, take as many times as long to start
    with _server(["-m", "mlflow", "ui", *where]) as server:
        try:
            _wait_until_ready(server, config)
            print(*links, f"MLflow on {address}; Ctrl-C ends it.", sep="\n", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            return 0


def _check_port(config: UiConfig) -> None:
    """Raise if another program listens, whose answers would be taken for those of the server.

    Raises:
        WinnowError: The port is taken.
    """
    try:
        socket.create_server((config.host, config.port)).close()
    except OSError as error:
        told = f"cannot listen on {config.host}:{config.port} ({error.strerror or error})."
        raise WinnowError(f"{told} Choose another port, as in port={config.port + 1}.", "port") from error


@contextmanager
def _server(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python in a process group of its own, and end the whole group with the block, on SIGTERM too."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, stop)
    server = subprocess.Popen([sys.executable, *arguments], start_new_session=True)  # noqa: S603 - checked above
    try:
        yield server
    finally:
        _end_group(server)
        signal.signal(signal.SIGTERM, previous)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, signum)
            server.wait(STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _wait_until_ready(server: subprocess.Popen[bytes], config: UiConfig) -> None:
    """Wait until the server answers.

    Raises:
        WinnowError: It ends before that.
    """
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104 - compared, not bound
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://{host}:{config.port}/health", timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    told = f"the server ended with exit code {server.returncode} before it answered on port {config.port}."
    raise WinnowError(f"{told} Its output above says why. Choose another port, as in port={config.port + 1}.", "port")
