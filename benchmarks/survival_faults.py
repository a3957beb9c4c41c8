"""Error injection for `survival.py`: flipped bits, killed store creation, duplicate commands and failing servers.

Every measurement runs real commands in separate processes in the current folder.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from winnow.tracking import Store, keys, sync

SCORES = ("final/", "before/")
TIMING_METRICS = ("second", "peak_share", "system/")

Start = Callable[[list[str], str], BaseProcess]
"""Starts a command in a new process; the second argument is the name of the output file."""


def local_store(folder: Path) -> Store:
    """Return the store of the commands in a folder."""
    outputs = folder / "outputs"
    return Store(
        uri=f"sqlite:///{outputs}/mlflow.db", artifacts=str(outputs / "artifacts"), spool=str(outputs / "unsent")
    )


def cells(store: Store, study: str) -> list[Any]:
    """Return the runs of a study's cells, ordered by start time."""
    query = f"tags.`{keys.KIND}` = 'cell'"
    return list(store.client().search_runs([store.experiment(study)], query, order_by=["attributes.start_time ASC"]))


def scores(run: Any) -> dict[str, float]:
    """Return the scores of a run before and after training."""
    return {
        name: value
        for name, value in run.data.metrics.items()
        if name.startswith(SCORES) and not any(text in name for text in TIMING_METRICS)
    }


def points(store: Store, run: Any) -> dict[str, list[tuple[int, float]]]:
    """Return all metric values of a run by step."""
    client = store.client()
    return {
        name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
        for name in sorted(run.data.metrics)
        if not any(text in name for text in TIMING_METRICS)
    }


def flip_bit(file: Path, rng: random.Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def measure_flips(flips: int, small: list[str], start: Start, rng: random.Random) -> dict[str, Any]:
    """Flip a bit in every cached file, run again, and count the flips that are not reported or that change a score."""
    folder = Path.cwd()
    command = ["train", "study.name=flips", "filter=nike_positive", *small]
    start(command, "flips.txt").join()
    store, cache = local_store(folder), folder / "outputs/cache"
    (first,) = cells(store, "flips")
    expected, done, silent, kinds = scores(first), 0, 0, dict[str, int]()
    while done < flips:
        files = sorted(file for file in cache.rglob("*") if file.is_file() and not file.name.startswith("."))
        damaged = [file for file in files if file.stat().st_size]
        for file in damaged:
            flip_bit(file, rng)
            kind = f"{file.relative_to(cache).parts[0]}/{file.name}"
            kinds[kind] = kinds.get(kind, 0) + 1
        (folder / "flips.txt").unlink()
        process = start(command, "flips.txt")
        process.join()
        output = (folder / "flips.txt").read_text(encoding="utf-8")
        missed = [file for file in damaged if f"{file.parent.relative_to(folder)} is damaged" not in output]
        same = process.exitcode == 0 and scores(cells(store, "flips")[-1]) == expected
        silent += len(missed) if same else len(damaged)
        done += len(damaged)
    resumed = measure_checkpoint_flips(small, start, rng)
    return {
        "flips": done + resumed["flips"],
        "silent": silent + resumed["silent"],
        "of": {**kinds, **resumed["of"]},
    }


def measure_checkpoint_flips(small: list[str], start: Start, rng: random.Random, flips: int = 6) -> dict[str, Any]:
    """Flip a bit in the checkpoint of a killed run, and count the resumed runs with different scores."""
    folder = Path.cwd()
    command = ["train", "-m", "study.compare=false", "filter=full", *small, "training.max_steps=200"]
    start([*command, "study.name=intact"], "intact.txt").join()
    expected = scores(cells(local_store(folder), "intact")[-1])
    silent = 0
    for number in range(flips):
        study = f"checkpoint{number}"
        process = start([*command, f"study.name={study}"], "checkpoint.txt")
        checkpoint = wait_for_checkpoint(folder / "outputs" / study, process)
        process.kill()
        process.join()
        flip_bit(checkpoint, rng)
        process = start([*command, f"study.name={study}"], f"{study}.txt")
        process.join()
        newest = cells(local_store(folder), study)[-1]
        silent += process.exitcode == 0 and scores(newest) != expected
    return {"flips": flips, "silent": silent, "of": {"last.ckpt": flips}}


def create_store(folder: str) -> None:
    """Create a store like the first command in a folder."""
    local_store(Path(folder)).client()


def measure_store_kills(kills: int, context: Any, rng: random.Random) -> dict[str, Any]:
    """Kill the creation of a store at random times, and count the stores that cannot be used afterwards."""
    started = time.monotonic()
    process = context.Process(target=create_store, args=("whole",))
    process.start()
    process.join()
    full_time, unusable, had_files = time.monotonic() - started, 0, []
    for number in range(kills):
        process = context.Process(target=create_store, args=(f"killed{number}",))
        process.start()
        process.join(rng.uniform(0, full_time))
        if process.is_alive():
            process.kill()
            process.join()
            had_files.append(any(Path(f"killed{number}").rglob("mlflow.db*")))
        second_attempt = context.Process(target=create_store, args=(f"killed{number}",))
        second_attempt.start()
        second_attempt.join()
        unusable += second_attempt.exitcode != 0
    return {"kills": kills, "while_it_was_created": sum(had_files), "dead": unusable}


def measure_twins(rounds: int, small: list[str], start: Start, rng: random.Random) -> dict[str, Any]:
    """Start the same single run twice, and count the rounds in which one damages the other."""
    folder = Path.cwd()
    command = ["train", "filter=full", *small, "training.max_steps=400"]
    started = time.monotonic()
    start([*command, "study.name=alone"], "alone.txt").join()
    full_time, store = time.monotonic() - started, local_store(folder)
    expected = points(store, cells(store, "alone")[0])
    damaged, refused = 0, 0
    for number in range(rounds):
        study = f"twins{number}"
        first = start([*command, f"study.name={study}"], f"{study}a.txt")
        time.sleep(rng.uniform(0, 0.8 * full_time))
        second = start([*command, f"study.name={study}"], f"{study}b.txt")
        codes = []
        for process in (first, second):
            process.join()
            codes.append(process.exitcode)
        output = "".join((folder / f"{study}{name}.txt").read_text(encoding="utf-8") for name in "ab")
        refused += "another process is training this cell" in " ".join(output.split())
        runs = cells(store, study)
        is_intact = all(run.info.status == "FINISHED" and points(store, run) == expected for run in runs)
        expected_codes = sorted(codes) in ([0, 0], [0, 1]) and "Traceback" not in output
        damaged += not (runs and is_intact and expected_codes)
    return {"rounds": rounds, "refused": refused, "damaged": damaged}


def measure_overlap(rounds: int, small: list[str], grid: list[str], start: Start, rng: random.Random) -> Any:
    """Start one grid in two processes, and count the cells that are trained twice."""
    trained_twice, failed, shared = 0, 0, 0
    store = local_store(Path.cwd())
    for number in range(rounds):
        study = f"grid{number}"
        command = ["train", "-m", *grid, f"study.name={study}", *small]
        first = start(command, f"{study}a.txt")
        time.sleep(rng.uniform(0, 4))
        second = start(command, f"{study}b.txt")
        for process in (first, second):
            process.join()
            failed += process.exitcode != 0
        runs = cells(store, study)
        ids = [run.data.tags[keys.CELL_ID] for run in runs]
        trained_twice += len(ids) - len(set(ids)) + sum(int(run.data.tags.get(keys.ATTEMPTS, "1")) > 1 for run in runs)
        failed += sum(run.info.status != "FINISHED" for run in runs)
        shared += len({run.data.tags[keys.RUN_OWNER] for run in runs}) > 1
    return {"rounds": rounds, "rounds_in_which_both_trained": shared, "failed": failed, "trained_twice": trained_twice}


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


def wait_for_checkpoint(folder: Path, process: BaseProcess) -> Path:
    """Wait for the first checkpoint of a study, and return its path."""
    while process.is_alive():
        if checkpoints := list(folder.glob("cells/*/last.ckpt")):
            return checkpoints[0]
        time.sleep(0.005)
    raise RuntimeError(f"no checkpoint was saved in {folder}")


def measure_sync(rounds: int, small: list[str], start: Start) -> dict[str, Any]:
    """Kill the server while a run trains, start it again, sync, and count the runs that are not FINISHED."""
    wrong = 0
    with server(Path.cwd() / "server") as (uri, send, restart):
        for number in range(rounds):
            study = f"sync{number}"
            tracking = ["tracking=server", f"tracking.uri={uri}"]
            command = ["train", "filter=full", *small, "training.max_steps=200", f"study.name={study}", *tracking]
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


def measure_step_wait(small: list[str], start: Start, seconds: float = 30) -> dict[str, Any]:
    """Suspend a server during training, and measure the increase of the longest time between two checkpoints."""
    with server(Path.cwd() / "server") as (uri, send, _):
        steps = ["training.max_steps=100000", "training.validate_every_steps=20", "evaluation.max_rows=16"]
        tracking = ["tracking=server", f"tracking.uri={uri}"]
        process = start(["train", "filter=full", *small, *steps, "study.name=hangs", *tracking], "hangs.txt")
        checkpoint = wait_for_checkpoint(Path.cwd() / "outputs/hangs", process)
        before = longest_gap(checkpoint, 10)
        send(signal.SIGSTOP)
        during = longest_gap(checkpoint, seconds)
        send(signal.SIGCONT)
        process.kill()
        process.join()
    return {"gap_before": before, "gap_while_it_hangs": during, "wait": round(max(0.0, during - before), 3)}


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
