"""Does a study survive? SIGKILL at random moments, crowds on an empty store, and parallel cells on one database.

    python benchmarks/survival.py --json FILE [--only NAME ...] [--kills 20] [--rounds 20] [--crowd 8]

1. `kills`: the process that runs the `winnow` command of a study of four cells is killed with SIGKILL, after a random
   share of the time that the uninterrupted study took, and started again; where it ends before the kill, the next study
   begins. Processes are forked from one that has loaded the libraries, so that most moments fall into the study itself.
   Afterwards no finished cell may have been run again or lost, no run may be RUNNING although its process is gone, and
   every metric of every cell must equal the uninterrupted study's: each value of each step, none twice.
2. `rounds`: so many processes begin a run at once on a store that does not exist yet.
3. `crowd`: so many cells at a time, each in a process of its own, write one sqlite file; again every value is compared
   with those of cells that ran one after the other.
4. The faults of `survival_faults.py`, one key each: `silent_flips`, `store_kills_dead`, `twins_damaged`,
   `grid_overlap_trained_twice`, `sync_status_wrong` and `step_wait_seconds`.

`--only` measures the named parts alone: `sigkill`, `parallel_cells`, `empty_store`, or a key of the fourth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from survival_faults import (
    measure_flips,
    measure_overlap,
    measure_step_wait,
    measure_store_kills,
    measure_sync,
    measure_twins,
)
from winnow.cli import main as main_of_winnow
from winnow.tracking import Store, keys
from winnow.tracking.environment import hardware

SMALL = [
    "dataset.source.rows=1500",
    "model.layers=1",
    "model.hidden_size=32",
    "training.max_steps=40",
    "training.batch_size=16",
    "training.validate_every_steps=5",
    "evaluation.max_rows=48",
]
GRID = ["filter=full,nike_positive", "seed=1,2"]
SHARED_BY_NONE = ("second", "peak_share", "system/")
"""What tells of time or load, in a metric's name, differs between any two runs."""


def started(study: str, *more: str) -> BaseProcess:
    """Start the command of a study in a process of its own."""
    return started_command(["train", "-m", f"study.name={study}", *SMALL, *more], "printed.txt")


def started_command(arguments: list[str], printed: str) -> BaseProcess:
    """Start a command in a process of its own, with what it prints in a file."""
    process: BaseProcess = processes().Process(target=run, args=(arguments, printed))
    process.start()
    return process


def run(arguments: list[str], printed: str) -> None:
    """Run a command, with what it prints in a file, and exit as it does."""
    with Path(printed).open("a", encoding="utf-8") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        sys.exit(main_of_winnow(arguments))


def processes() -> Any:
    """Return the way to processes that have loaded the libraries when they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["winnow.studies", "winnow.training.progress", "winnow.evaluation", "mlflow"])
    return context


def store() -> Store:
    """Return the store that the commands write to."""
    return Store(uri="sqlite:///outputs/mlflow.db", artifacts="outputs/artifacts")


def cells(study: str) -> list[Any]:
    """Return the runs of a study's cells."""
    client = store().client()
    found = client.search_runs([store().experiment(study)], f"tags.`{keys.KIND}` = 'cell'", max_results=1000)
    return list(found)


def values(study: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return of each finished cell all values of all metrics by step."""
    client = store().client()
    return {
        f"{run.data.tags[keys.ARM]} {run.data.tags[keys.SEED]}": {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))
            for name in sorted(run.data.metrics)
            if not any(part in name for part in SHARED_BY_NONE)
        }
        for run in cells(study)
        if run.info.status == "FINISHED"
    }


def finished(study: str) -> dict[str, tuple[str, int]]:
    """Return of each finished run its cell and when it ended."""
    return {
        run.info.run_id: (run.data.tags[keys.CELL_ID], run.info.end_time)
        for run in cells(study)
        if run.info.status == "FINISHED"
    }


def measure_kills(kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill studies until that was done so many times, and look at what is left."""
    begun = time.monotonic()
    started("whole", *GRID).join()
    whole, expected = time.monotonic() - begun, values("whole")
    faults: list[str] = []
    lost = duplicated = left_running = 0
    done, number, shares = 0, 0, list[float]()
    while done < kills:
        number += 1
        study, seen, ended = f"killed{number}", {}, False
        while not ended:
            process = started(study, *GRID)
            process.join(chance.uniform(0, whole) if done < kills else None)
            if process.is_alive():
                process.kill()
                process.join()
                done += 1
                shares.append(round(len(finished(study)) / len(expected), 2))
                print(f"kill {done} of {kills} in {study}, {shares[-1]:.0%} of its cells finished", flush=True)
            else:
                ended = True
                faults += [f"{study} ended with {process.exitcode}"] if process.exitcode else []
            now = finished(study)
            faults += [f"{study}: a finished run changed or is gone" for run in seen if now.get(run) != seen[run]]
            seen = now
        runs = cells(study)
        running = [f"{study}: {run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING"]
        faults += running
        left_running += len(running)
        unique = len({cell for cell, _ in seen.values()})
        duplicated += len(seen) - unique
        lost += len(expected) - unique
        if len({cell for cell, _ in seen.values()}) != len(seen) or len(seen) != len(expected):
            faults.append(f"{study}: {len(seen)} finished runs instead of {len(expected)}")
        found = values(study)
        for cell, metrics in expected.items():
            wrong = [name for name, points in metrics.items() if found.get(cell, {}).get(name) != points]
            faults += [f"{study}: {cell} differs in {', '.join(wrong)}"] if wrong else []
            lost += len(wrong)
    return {
        "kills": done,
        "lost": lost,
        "duplicated": duplicated,
        "left_running": left_running,
        "studies": number,
        "cells_compared": number * len(expected),
        "values_compared": number * sum(len(points) for metrics in expected.values() for points in metrics.values()),
        "finished_share_at_each_kill": shares,
        "faults": faults,
    }


def begin_a_run(folder: str, barrier: Any) -> None:
    """Begin a run on a store that others begin at the same moment."""
    there = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts")
    barrier.wait()
    from winnow.tracking import track

    with track(there, there.experiment("study"), "x", {}) as run:
        run.log_metrics({"value": 1.0})


def measure_rounds(rounds: int, crowd: int) -> dict[str, Any]:
    """Let a crowd start on an empty store, again and again."""
    context = processes()
    errors = lost = 0
    for _ in range(rounds):
        folder = tempfile.mkdtemp(dir=".")
        barrier = context.Barrier(crowd)
        members = [context.Process(target=begin_a_run, args=(folder, barrier)) for _ in range(crowd)]
        for member in members:
            member.start()
        for member in members:
            member.join()
        errors += sum(member.exitcode != 0 for member in members)
        there = Store(uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts")
        runs = there.client().search_runs([there.experiment("study")])
        lost += crowd - sum(run.info.status == "FINISHED" and run.data.metrics == {"value": 1.0} for run in runs)
    return {"rounds": rounds, "processes": crowd, "errors": errors, "lost_runs": lost}


def measure_crowd(crowd: int) -> dict[str, Any]:
    """Let cells write one database at the same time, and compare with cells one after the other."""
    grid = ["filter=full", f"seed=range(1,{crowd + 1})", "study.compare=false"]
    # One thread for either: sums over other numbers of threads differ in their last digits.
    workers = ["launcher=joblib", "launcher.threads=1"]
    for study, at_once in (("alone", 1), ("together", crowd)):
        started(study, *grid, *workers, f"launcher.workers={at_once}").join()
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
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--crowd", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--flips", type=int, default=60)
    parser.add_argument("--store-kills", type=int, default=20)
    parser.add_argument("--twins", type=int, default=10)
    parser.add_argument("--grids", type=int, default=5)
    parser.add_argument("--servers", type=int, default=2, help="rounds in which a server dies")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="NAME")
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    found: dict[str, Any] = {"hardware": hardware()}
    for name in options.only:
        os.chdir(tempfile.mkdtemp())
        measured, headline = PARTS[name](options)
        found |= {**headline, name if name not in headline else f"{name}_of": measured}
        print(json.dumps({**headline, "of": measured}, indent=2), flush=True)
        if target:
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


Measured = tuple[dict[str, Any], dict[str, Any]]


def _sigkill(options: argparse.Namespace) -> Measured:
    found = measure_kills(options.kills, random.Random(options.seed))
    return found, {name: found[name] for name in ("kills", "lost", "duplicated", "left_running")}


def _faults(key: str, result: str, measure: Callable[[argparse.Namespace], dict[str, Any]]) -> Any:
    """Return a part whose headline is one result of a measurement."""

    def part(options: argparse.Namespace) -> Measured:
        found = measure(options)
        return found, {key: found[result]}

    return part


PARTS: dict[str, Callable[[argparse.Namespace], Measured]] = {
    "sigkill": _sigkill,
    "parallel_cells": lambda options: (measure_crowd(options.crowd), {}),
    "empty_store": lambda options: (measure_rounds(options.rounds, options.crowd), {}),
    "silent_flips": _faults(
        "silent_flips",
        "silent",
        lambda options: measure_flips(options.flips, SMALL, started_command, random.Random(options.seed)),
    ),
    "store_kills_dead": _faults(
        "store_kills_dead",
        "dead",
        lambda options: measure_store_kills(options.store_kills, processes(), random.Random(options.seed)),
    ),
    "twins_damaged": _faults(
        "twins_damaged",
        "damaged",
        lambda options: measure_twins(options.twins, SMALL, started_command, random.Random(options.seed)),
    ),
    "grid_overlap_trained_twice": _faults(
        "grid_overlap_trained_twice",
        "trained_twice",
        lambda options: measure_overlap(options.grids, SMALL, GRID, started_command, random.Random(options.seed)),
    ),
    "sync_status_wrong": _faults(
        "sync_status_wrong", "wrong", lambda options: measure_sync(options.servers, SMALL, started_command)
    ),
    "step_wait_seconds": _faults(
        "step_wait_seconds", "wait", lambda options: measure_step_wait(SMALL, started_command)
    ),
}
"""What can be measured, by name; each returns its numbers, and those that stand at the top of the file."""


if __name__ == "__main__":
    main()
