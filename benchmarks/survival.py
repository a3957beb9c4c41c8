"""Does a study survive? SIGKILL at random moments, crowds on an empty store, and parallel cells on one database.

    python benchmarks/survival.py --json FILE [--kills 20] [--rounds 20] [--crowd 8]

1. `kills`: the process that runs the `winnow` command of a study of four cells is killed with SIGKILL, after a random
   share of the time that the uninterrupted study took, and started again; where it ends before the kill, the next study
   begins. Processes are forked from one that has loaded the libraries, so that most moments fall into the study itself.
   Afterwards no finished cell may have been run again or lost, no run may be RUNNING although its process is gone, and
   every metric of every cell must equal the uninterrupted study's: each value of each step, none twice.
2. `rounds`: so many processes begin a run at once on a store that does not exist yet.
3. `crowd`: so many cells at a time, each in a process of its own, write one sqlite file; again every value is compared
   with those of cells that ran one after the other.
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
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

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
    process = processes().Process(target=run, args=(["train", "-m", f"study.name={study}", *SMALL, *more],))
    process.start()
    return process


def run(arguments: list[str]) -> None:
    """Run a command, with what it prints in a file, and exit as it does."""
    with Path("printed.txt").open("a", encoding="utf-8") as file:
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
        run.info.run_id: (run.data.tags[keys.CELL], run.info.end_time)
        for run in cells(study)
        if run.info.status == "FINISHED"
    }


def measure_kills(kills: int, chance: random.Random) -> dict[str, Any]:
    """Kill studies until that was done so many times, and look at what is left."""
    begun = time.monotonic()
    started("whole", *GRID).join()
    whole, expected = time.monotonic() - begun, values("whole")
    faults: list[str] = []
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
        faults += [f"{study}: {run.info.run_name} is {run.info.status}" for run in runs if run.info.status == "RUNNING"]
        if len({cell for cell, _ in seen.values()}) != len(seen) or len(seen) != len(expected):
            faults.append(f"{study}: {len(seen)} finished runs instead of {len(expected)}")
        found = values(study)
        for cell, metrics in expected.items():
            wrong = [name for name, points in metrics.items() if found.get(cell, {}).get(name) != points]
            faults += [f"{study}: {cell} differs in {', '.join(wrong)}"] if wrong else []
    return {
        "kills": done,
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
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    found: dict[str, Any] = {"hardware": hardware()}
    wanted = {"empty_store": options.rounds, "parallel_cells": options.crowd, "sigkill": options.kills}
    for name, measured in (
        ("sigkill", lambda: measure_kills(options.kills, random.Random(options.seed))),
        ("parallel_cells", lambda: measure_crowd(options.crowd)),
        ("empty_store", lambda: measure_rounds(options.rounds, options.crowd)),
    ):
        if not wanted[name]:
            continue
        found[name] = measured()
        print(json.dumps({name: found[name]}, indent=2), flush=True)
        if target:
            target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
