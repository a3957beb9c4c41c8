"""Test crash safety: SIGKILL at random times, concurrent starts on an empty store, and parallel cells on one database.

    python benchmarks/survival.py --json FILE [--long] [--only NAME ...]

By default, every measurement runs with the first number of faults in `NUMBERS`, and `--long` selects the second. An
option such as `--kills 50` sets a single number.

1. `sigkill`: SIGKILL ends the `winnow` command of a study with four cells after a random CPU time, up to half of that
   of an uninterrupted study, and the command is started again. If the study completes before the kill, the next study
   starts. With CPU times, the kills do not depend on the load of the machine. Processes are forked from one that has
   imported the libraries, so that most kills occur during the study itself. In the end, no finished cell may be lost or
   repeated, no run may be RUNNING without a live process, and every metric value of every cell must be equal to that of
   the uninterrupted study and stored exactly once.
2. `empty_store`: in each of `--rounds` rounds, `--crowd` processes start a run at the same time on a store that does
   not exist yet.
3. `parallel_cells`: `--crowd` cells, each in a separate process, write to one SQLite file at the same time. Every value
   is compared with that of cells that ran sequentially.
4. The errors injected by `survival_faults.py`, with one key each: `silent_flips`, `store_kills_dead`, `twins_damaged`,
   `grid_overlap_trained_twice` and `workers_left`.
5. The failing servers of `survival_servers.py`: `sync_status_wrong`, `step_wait_seconds` and `compare_wait_seconds`.
6. `digest_percent`: the percentage of a demo cell's time that it takes to write and verify digests.

`--only` selects the measurements by these names. The results are written to FILE after each measurement, and results in
FILE of measurements that are not selected are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from survival_digests import measure_digests
from survival_faults import measure_flips, measure_overlap, measure_store_kills, measure_twins, measure_workers
from survival_servers import measure_compare_wait, measure_step_wait, measure_sync
from winnow.cli import main as winnow_main
from winnow.tracking import Store, keys
from winnow.tracking.run_environment import describe_hardware, read_git_commit

SMALL = [
    "dataset.source.rows=1000",
    "model.layers=1",
    "model.hidden_size=32",
    "training.max_steps=20",
    "training.batch_size=16",
    "training.validate_every_steps=5",
    "evaluation.max_rows=24",
]
NUMBERS = {
    "kills": (20, 100, "kills of studies"),
    "rounds": (5, 20, "rounds of concurrent starts on an empty store"),
    "crowd": (8, 8, "processes that start or write at the same time"),
    "flips": (60, 200, "flipped bits in cached files"),
    "store-kills": (20, 100, "killed creations of a store"),
    "twins": (10, 50, "single runs that are started twice"),
    "grids": (5, 20, "studies that are started twice"),
    "servers": (2, 10, "rounds in which a server is killed"),
    "studies": (1, 5, "killed studies with two workers"),
}
"""The numbers of faults by option: by default, with `--long`, and the description of the option."""

GRID = ["filter=full,nike_positive", "seed=1,2"]
TIMING_METRICS = ("second", "peak_share", "system/")
"""Substrings of the names of metrics that measure time or load, which differ between any two runs."""


def start_study(study: str, *more: str) -> BaseProcess:
    """Start the command of a study in a new process."""
    return start_command(["train", "-m", f"study.name={study}", *SMALL, *more], "output.txt")


def start_command(arguments: list[str], output_file: str) -> BaseProcess:
    """Start a command in a new process, with its output redirected to a file."""
    process: BaseProcess = process_context().Process(target=run, args=(arguments, output_file))
    process.start()
    return process


def run(arguments: list[str], output_file: str) -> None:
    """Run a command with its output redirected to a file, and exit with its exit code."""
    with Path(output_file).open("a", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        sys.exit(winnow_main(arguments))


def process_context() -> Any:
    """Return a multiprocessing context whose processes start with the libraries imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["winnow.studies", "winnow.training.progress", "winnow.evaluation", "mlflow"])
    return context


def store() -> Store:
    """Return the store of the commands."""
    return Store(uri="sqlite:///outputs/mlflow.db", artifacts="outputs/artifacts")


def cells(study: str) -> list[Any]:
    """Return the runs of a study's cells."""
    client = store().client()
    runs = client.search_runs([store().experiment(study)], f"tags.`{keys.KIND}` = 'cell'", max_results=1000)
    return list(runs)


def values(study: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return all metric values of each finished cell by step."""
    client = store().client()
    return {
        f"{run.data.tags[keys.ARM]} {run.data.tags[keys.SEED]}": {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
            for name in sorted(run.data.metrics)
            if not any(text in name for text in TIMING_METRICS)
        }
        for run in cells(study)
        if run.info.status == "FINISHED"
    }


def finished(study: str) -> dict[str, tuple[str, int]]:
    """Return the cell id and end time of each finished run."""
    return {
        run.info.run_id: (run.data.tags[keys.CELL_ID], run.info.end_time)
        for run in cells(study)
        if run.info.status == "FINISHED"
    }


def wait_for_cpu_time(process: BaseProcess, seconds: float = math.inf) -> float:
    """Wait until a process has used a CPU time or has ended, and return its CPU time in seconds."""
    used = 0.0
    while process.is_alive() and used < seconds:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process.pid).cpu_times()
            used = times.user + times.system
        time.sleep(0.005)
    return used


def measure_kills(kills: int, rng: random.Random) -> dict[str, Any]:
    """Kill studies a given number of times, and check what is stored afterwards."""
    full_time, expected = wait_for_cpu_time(start_study("whole", *GRID)), values("whole")
    errors: list[str] = []
    lost = duplicated = left_running = 0
    done, number, fractions = 0, 0, list[float]()
    while done < kills:
        number += 1
        study, previous, has_ended = f"killed{number}", dict[str, tuple[str, int]](), False
        while not has_ended:
            process = start_study(study, *GRID)
            wait_for_cpu_time(process, rng.uniform(0, full_time / 2) if done < kills else math.inf)
            if process.is_alive():
                process.kill()
                process.join()
                done += 1
                fractions.append(round(len(finished(study)) / len(expected), 2))
                print(f"kill {done} of {kills} in {study}, {fractions[-1]:.0%} of its cells finished", flush=True)
            else:
                has_ended = True
                errors += [f"{study} ended with {process.exitcode}"] if process.exitcode else []
            now = finished(study)
            errors += [
                f"{study}: a finished run changed or is missing" for run in previous if now.get(run) != previous[run]
            ]
            previous = now
        runs = cells(study)
        running = [f"{study}: {run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING"]
        errors += running
        left_running += len(running)
        unique = len({cell for cell, _ in previous.values()})
        duplicated += len(previous) - unique
        lost += len(expected) - unique
        if len({cell for cell, _ in previous.values()}) != len(previous) or len(previous) != len(expected):
            errors.append(f"{study}: {len(previous)} finished runs instead of {len(expected)}")
        stored = values(study)
        for cell, metrics in expected.items():
            wrong = [name for name, points in metrics.items() if stored.get(cell, {}).get(name) != points]
            errors += [f"{study}: {cell} differs in {', '.join(wrong)}"] if wrong else []
            lost += len(wrong)
    return {
        "kills": done,
        "lost": lost,
        "duplicated": duplicated,
        "left_running": left_running,
        "studies": number,
        "cells_compared": number * len(expected),
        "values_compared": number * sum(len(points) for metrics in expected.values() for points in metrics.values()),
        "finished_share_at_each_kill": fractions,
        "faults": errors,
    }


def start_run(folder: str, barrier: Any) -> None:
    """Start a run on a store at the same time as other processes."""
    store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts")
    barrier.wait()
    from winnow.tracking import track

    with track(store, store.experiment("study"), "x", {}) as run:
        run.log_metrics({"value": 1.0})


def measure_rounds(rounds: int, crowd: int) -> dict[str, Any]:
    """Start runs concurrently on an empty store, in several rounds."""
    context = process_context()
    errors = lost = 0
    for _ in range(rounds):
        folder = tempfile.mkdtemp(dir=".")
        barrier = context.Barrier(crowd)
        workers = [context.Process(target=start_run, args=(folder, barrier)) for _ in range(crowd)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        errors += sum(worker.exitcode != 0 for worker in workers)
        store = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts")
        runs = store.client().search_runs([store.experiment("study")])
        lost += crowd - sum(run.info.status == "FINISHED" and run.data.metrics == {"value": 1.0} for run in runs)
    return {"rounds": rounds, "processes": crowd, "errors": errors, "lost_runs": lost}


def measure_crowd(crowd: int) -> dict[str, Any]:
    """Run cells in parallel on one database, and compare their values with sequential cells."""
    grid = ["filter=full", f"seed=range(1,{crowd + 1})", "study.compare=false"]
    # Sums over different numbers of threads differ in their last digits, so both studies use one thread.
    workers = ["launcher=joblib", "numerics.threads=1"]
    for study, parallel in (("alone", 1), ("together", crowd)):
        start_study(study, *grid, *workers, f"launcher.workers={parallel}").join()
        assert len(values(study)) == crowd, f"{study} did not finish"
    alone, together = values("alone"), values("together")
    compared = {
        (cell, name): together.get(cell, {}).get(name) == points
        for cell, metrics in alone.items()
        for name, points in metrics.items()
    }
    points = sum(len(points) for metrics in alone.values() for points in metrics.values())
    return {
        "cells": len(together),
        "values": points,
        "histories_that_differ": sum(not same for same in compared.values()),
    }


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="random seed of the kill times")
    parser.add_argument("--long", action="store_true", help="inject more faults, which takes hours")
    for name, (default, _, text) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, help=f"{text} (default: {default})")
    parser.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), default=list(MEASUREMENTS), metavar="NAME")
    options = parser.parse_args()
    for name, (default, long_default, _) in NUMBERS.items():
        if getattr(options, attribute := name.replace("-", "_")) is None:
            setattr(options, attribute, long_default if options.long else default)
    target = options.json.resolve() if options.json else None
    earlier = json.loads(target.read_text(encoding="utf-8")) if target and target.exists() else {}
    results: dict[str, Any] = earlier | {"hardware": describe_hardware()}
    commit = read_git_commit()[:7]  # before the folder changes
    for name in options.only:
        os.chdir(tempfile.mkdtemp())
        started, cpu_started = time.monotonic(), read_cpu_seconds()
        details, headline = MEASUREMENTS[name](options)
        cpu_seconds = round(read_cpu_seconds() - cpu_started)
        details |= {"measurement_seconds": round(time.monotonic() - started), "cpu_seconds": cpu_seconds}
        details["commit"] = commit
        results |= {**headline, name if name not in headline else f"{name}_of": details}
        print(json.dumps({**headline, "of": details}, indent=2), flush=True)
        if target:
            target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def read_cpu_seconds() -> float:
    """Return the CPU time of this process and of all processes that it started."""
    times = [process.cpu_times() for process in (psutil.Process(), *psutil.Process().children())]
    return sum(time.user + time.system + time.children_user + time.children_system for time in times)


Measured = tuple[dict[str, Any], dict[str, Any]]


def _measure_sigkill(options: argparse.Namespace) -> Measured:
    results = measure_kills(options.kills, random.Random(options.seed))
    return results, {name: results[name] for name in ("kills", "lost", "duplicated", "left_running")}


def _with_headline(key: str, result: str, measure: Callable[[argparse.Namespace], dict[str, Any]]) -> Any:
    """Return a measurement function whose headline is one of its results."""

    def run_measurement(options: argparse.Namespace) -> Measured:
        results = measure(options)
        return results, {key: results[result]}

    return run_measurement


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "sigkill": _measure_sigkill,
    "parallel_cells": lambda options: (measure_crowd(options.crowd), {}),
    "empty_store": lambda options: (measure_rounds(options.rounds, options.crowd), {}),
    "silent_flips": _with_headline(
        "silent_flips",
        "silent",
        lambda options: measure_flips(options.flips, SMALL, start_command, random.Random(options.seed)),
    ),
    "store_kills_dead": _with_headline(
        "store_kills_dead",
        "dead",
        lambda options: measure_store_kills(options.store_kills, process_context(), random.Random(options.seed)),
    ),
    "twins_damaged": _with_headline(
        "twins_damaged",
        "damaged",
        lambda options: measure_twins(options.twins, SMALL, start_command, random.Random(options.seed)),
    ),
    "grid_overlap_trained_twice": _with_headline(
        "grid_overlap_trained_twice",
        "trained_twice",
        lambda options: measure_overlap(options.grids, SMALL, GRID, start_command, random.Random(options.seed)),
    ),
    "sync_status_wrong": _with_headline(
        "sync_status_wrong", "wrong", lambda options: measure_sync(options.servers, SMALL, start_command)
    ),
    "step_wait_seconds": _with_headline(
        "step_wait_seconds", "wait", lambda options: measure_step_wait(SMALL, start_command)
    ),
    "compare_wait_seconds": _with_headline(
        "compare_wait_seconds", "seconds", lambda options: measure_compare_wait(SMALL, start_command)
    ),
    "digest_percent": _with_headline("digest_percent", "percent", lambda options: measure_digests(process_context())),
    "workers_left": _with_headline(
        "workers_left", "left", lambda options: measure_workers(options.studies, SMALL, start_command)
    ),
}
"""Measurements by name. Each returns its detailed results and the headline results for the top of the file."""


if __name__ == "__main__":
    main()
