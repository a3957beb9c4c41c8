"""Failing servers for `survival.py`: a tracking server is suspended or killed while commands use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from survival_faults import Start, cells, wait_for_checkpoint
from winnow.tracking import Store, sync


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, Callable[[int], None], Callable[[], None]]]:
    """Run a tracking server; yield its URL, a function that sends it a signal, and a function that restarts it."""
    folder.mkdir()
    with closing(socket.create_server(("127.0.0.1", 0))) as connection:
        port = connection.getsockname()[1]
    storage = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", *storage, "--port", str(port), "--workers", "1"]
    running: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (folder / "log.txt").open("ab") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
        while running[-1].poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server did not start; see {folder / 'log.txt'}")

    def send(signum: int) -> None:
        os.killpg(running[-1].pid, signum)
        if signum == signal.SIGKILL:
            running[-1].wait()

    start()
    try:
        yield f"http://127.0.0.1:{port}", send, start
    finally:
        with contextlib.suppress(ProcessLookupError):
            send(signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def measure_sync(rounds: int, small: list[str], start: Start) -> dict[str, Any]:
    """Kill the server while a run trains, start it again, sync, and count the runs that are not FINISHED."""
    wrong = 0
    with server(Path.cwd() / "server") as (uri, send, restart):
        for number in range(rounds):
            study = f"sync{number}"
            tracking = ["tracking=server", f"tracking.uri={uri}"]
            command = ["train", "filter=full", *small, "training.max_steps=100", f"study.name={study}", *tracking]
            process = start(command, f"{study}.txt")
            wait_for_checkpoint(Path.cwd() / "outputs" / study, process)
            send(signal.SIGKILL)
            process.join()
            restart()
            store = Store(uri=uri, spool=str(Path.cwd() / "outputs/unsent"))
            sync(store)
            runs = cells(store, study)
            wrong += process.exitcode != 0 or [run.info.status for run in runs] != ["FINISHED"]
    return {"rounds": rounds, "wrong": wrong}


def measure_step_wait(small: list[str], start: Start, seconds: float = 20) -> dict[str, Any]:
    """Suspend a server during training, and measure the increase of the longest time between two checkpoints.

    The two times are measured over periods of the same length.
    """
    with server(Path.cwd() / "server") as (uri, send, _):
        steps = ["training.max_steps=100000", "training.validate_every_steps=20", "evaluation.max_rows=16"]
        tracking = ["tracking=server", f"tracking.uri={uri}"]
        process = start(["train", "filter=full", *small, *steps, "study.name=hangs", *tracking], "hangs.txt")
        checkpoint = wait_for_checkpoint(Path.cwd() / "outputs/hangs", process)
        before = longest_gap(checkpoint, seconds)
        send(signal.SIGSTOP)
        during = longest_gap(checkpoint, seconds)
        send(signal.SIGCONT)
        process.kill()
        process.join()
    return {"gap_before": before, "gap_while_it_hangs": during, "wait": round(max(0.0, during - before), 3)}


def measure_compare_wait(small: list[str], start: Start) -> dict[str, Any]:
    """Compare a finished study while its server is suspended, is suspended during the comparison, or was killed.

    In addition, repeat the command of the finished study while the server is suspended.

    Returns:
        The longest time in seconds until the command ended with an error about the server, and the number of commands
        that ended in any other way.
    """
    folder, waits, wrong = Path.cwd(), dict[str, float](), 0
    log = folder / "server/log.txt"
    with server(folder / "server") as (uri, send, _):
        tracking = ["tracking=server", f"tracking.uri={uri}"]
        grid = ["filter=full,nike_positive", "seed=1,2", "study.name=silent", *small, "training.max_steps=10"]
        start(["train", "-m", *grid, *tracking], "silent.txt").join()
        signals = {
            "suspended": signal.SIGSTOP,
            "suspended_for_finished_study": signal.SIGSTOP,
            "suspended_later": signal.SIGCONT,
            "killed": signal.SIGKILL,
        }
        for state, signum in signals.items():
            send(signum)
            requests, started = count_lines(log), time.monotonic()
            command = ["train", "-m", *grid] if state == "suspended_for_finished_study" else ["compare", "study=silent"]
            process = start([*command, *tracking], f"{state}.txt")
            if state == "suspended_later":
                while process.is_alive() and count_lines(log) < requests + 8:  # it has read the runs and some artifacts
                    time.sleep(0.005)
                send(signal.SIGSTOP)
                started = time.monotonic()
            process.join()
            waits[state] = round(time.monotonic() - started, 1)
            output = (folder / f"{state}.txt").read_text(encoding="utf-8")
            wrong += process.exitcode != 1 or "tracking.uri" not in output or "Traceback" in output
    return {"seconds": max(waits.values()), "by_state": waits, "wrong": wrong}


def count_lines(file: Path) -> int:
    """Return the number of lines of a file."""
    return file.read_bytes().count(b"\n")


def longest_gap(file: Path, seconds: float) -> float:
    """Return the longest time in seconds without a change to a file."""
    deadline = time.monotonic() + seconds
    changed, state, longest = time.monotonic(), file.stat().st_mtime_ns, 0.0
    while time.monotonic() < deadline:
        now = file.stat().st_mtime_ns
        if now != state:
            state, changed = now, time.monotonic()
        longest = max(longest, time.monotonic() - changed)
        time.sleep(0.005)
    return round(longest, 3)
