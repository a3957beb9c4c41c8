"""`winnow ui`: starts MLflow's web UI on the store, or prints the address of the tracking server."""

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
from typing import TYPE_CHECKING, NoReturn

from winnow.config import UiConfig, construct
from winnow.errors import WinnowError
from winnow.tracking import Store
from winnow.tracking.mlflow_ui import (
    ARMS_VIEW_KEY,
    ARMS_VIEW_TAG,
    FACTORS_VIEW_KEY,
    FACTORS_VIEW_TAG,
    RUNS_VIEW_KEY,
    RUNS_VIEW_TAG,
    experiment_url,
)
from winnow.tracking.store_errors import translate_store_errors

if TYPE_CHECKING:
    from mlflow.entities import Experiment

STOP_SECONDS = 10
"""Maximum time in seconds to wait for the server to stop before it is killed."""


def run_ui(config: UiConfig) -> int:
    """Print links to recent studies, run MLflow's web UI until Ctrl-C or SIGTERM, and return the exit code."""
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    address = store.redacted_uri if store.is_server else f"http://{config.host}:{config.port}"
    with translate_store_errors(store.uri):
        links = [
            link
            for experiment in store.client().search_experiments(max_results=5, order_by=["last_update_time DESC"])
            for link in _build_links(address, experiment)
        ]
    if store.is_server:
        print(*links, f"The tracking server has its own web UI: {store.redacted_uri}", sep="\n")
        return 0
    _check_port(config)
    # By default, MLflow starts six extra processes for background jobs, which Winnow does not use.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    options = ["--backend-store-uri", store.tracking_uri, "--host", config.host, "--port", str(config.port)]
    options += ["--workers", "1"]  # the default of four workers would take four times as long to start
    with _run_server(["-m", "mlflow", "ui", *options]) as server:
        try:
            _wait_until_ready(server, config)
            print(*links, f"MLflow is running on {address}. Press Ctrl-C to stop it.", sep="\n", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            return 0


def _build_links(address: str, experiment: Experiment) -> list[str]:
    """Return one line per view of an experiment: its runs grouped by arm, and its factors as parallel coordinates.

    Experiments of version 0.2 have only the view that lists all runs.
    """
    if RUNS_VIEW_TAG not in experiment.tags:
        return []
    view = ARMS_VIEW_KEY if ARMS_VIEW_TAG in experiment.tags else RUNS_VIEW_KEY
    lines = [f"{experiment.name:<20} {experiment_url(address, experiment.experiment_id, view)}"]
    if FACTORS_VIEW_TAG in experiment.tags:
        url = experiment_url(address, experiment.experiment_id, FACTORS_VIEW_KEY)
        lines.append(f"{'  parallel coordinates':<20} {url}")
    return lines


def _check_port(config: UiConfig) -> None:
    """Check that the port is free. A program that already listens on the port would be mistaken for the server.

    Raises:
        WinnowError: If the port is in use.
    """
    try:
        socket.create_server((config.host, config.port)).close()
    except OSError as error:
        raise WinnowError(
            f"cannot listen on {config.host}:{config.port} ({error.strerror or error}). Choose another port, such as "
            f"port={config.port + 1}.",
            "port",
        ) from error


@contextmanager
def _run_server(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with the given arguments in a new process group, and stop the group at the end of a `with` block.

    SIGTERM also ends the block.
    """

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    previous = signal.signal(signal.SIGTERM, stop)
    server = subprocess.Popen([sys.executable, *arguments], start_new_session=True)  # noqa: S603 - fixed program
    try:
        yield server
    finally:
        _stop_process_group(server)
        signal.signal(signal.SIGTERM, previous)


def _stop_process_group(server: subprocess.Popen[bytes]) -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, signum)
            server.wait(STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _wait_until_ready(server: subprocess.Popen[bytes], config: UiConfig) -> None:
    """Wait until the server responds to HTTP requests.

    Raises:
        WinnowError: If the server exits before it responds.
    """
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104 - only compared
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://{host}:{config.port}/health", timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise WinnowError(
        f"the server exited with code {server.returncode} before it responded on port {config.port}. Read its output "
        f"above, or choose another port, such as port={config.port + 1}.",
        "port",
    )
