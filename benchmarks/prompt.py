"""Measure the CPU time and memory of commands that do not train: composing, comparing, and finished studies.

    python benchmarks/prompt.py --json FILE [--steps 20] [--seeds 200]

Each command runs three times in a separate process, and the lowest CPU time (user and system, including child
processes) is reported together with the peak memory of that process.

- `cfg`: `winnow train --cfg job`; `cfg_demo`: the same for the 15 cells of `experiment=demo`
- `choices`: `winnow train --choices`; `error`: `winnow train` with a misspelled key
- `compare_15`: `winnow compare` of the demo's 15 runs; `compare_unchanged`: again, although nothing changed
- `finished_study`: the command of the demo when all cells have finished
- `fill`: `winnow fill` with a model in a local folder
- `compare_1000`: `winnow compare` of 1,000 synthetic runs in a real store (see benchmarks/comparison.py)

The demo's runs are trained for a few steps only, since the number of steps does not affect these times.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOALS = {
    "cfg_cpu_seconds": 1.5,
    "cfg_megabytes": 150,
    "cfg_demo_cpu_seconds": 1.5,
    "cfg_demo_megabytes": 150,
    "error_cpu_seconds": 1.5,
    "error_megabytes": 150,
    "choices_cpu_seconds": 1.5,
    "choices_megabytes": 150,
    "fill_cpu_seconds": 4.0,
    "compare_15_cpu_seconds": 4.0,
    "finished_study_cpu_seconds": 3.0,
    "compare_1000_cpu_seconds": 15.0,
    "compare_1000_megabytes": 700,
}
REPEATS = 3


@dataclass(frozen=True)
class Usage:
    """The CPU seconds and the peak memory in MB of a command."""

    seconds: float
    megabytes: float


def run_command(arguments: Sequence[str], folder: Path, expected_code: int = 0) -> Usage:
    """Run `winnow` with the given arguments and return its usage."""
    command = [sys.executable, "-m", "winnow", *arguments]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != expected_code:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'output.txt').read_text()}")
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def measure(
    name: str,
    arguments: Sequence[str],
    folder: Path,
    prepare: Callable[[], None] = lambda: None,
    expected_code: int = 0,
) -> dict[str, float]:
    """Return the lowest CPU time of several runs of a command, and the peak memory of that run."""
    usages = []
    for _ in range(REPEATS):
        prepare()
        usages.append(run_command(arguments, folder, expected_code))
    best = min(usages, key=lambda usage: usage.seconds)
    print(f"{name}: {best.seconds:.2f} s, {best.megabytes:.0f} MB", flush=True)
    return {f"{name}_cpu_seconds": round(best.seconds, 2), f"{name}_megabytes": round(best.megabytes)}


def measure_composition(folder: Path) -> dict[str, float]:
    """Measure the commands that only compose a configuration."""
    results = measure("cfg", ["train", "--cfg", "job"], folder)
    results |= measure("cfg_demo", ["train", "experiment=demo", "--cfg", "job"], folder)
    results |= measure("choices", ["train", "--choices"], folder)
    return results | measure("error", ["train", "optimizer.learning_rate=1"], folder, expected_code=1)


def measure_demo(folder: Path, steps: int) -> dict[str, float]:
    """Train the demo briefly; measure its comparison, the finished study, and `winnow fill` with one of its models."""
    train = ["train", "experiment=demo", f"training.max_steps={steps}", "output_dir=out"]
    usage = run_command(train, folder)
    print(f"training the demo: {usage.seconds:.0f} s", flush=True)
    report = folder / "out" / "demo" / "comparison"
    compare = ["compare", "study=demo", "output_dir=out"]

    def forget_comparison() -> None:
        shutil.rmtree(report)
        report.with_name("comparison.record.json").unlink()

    results = measure("compare_15", compare, folder, forget_comparison)
    results |= measure("compare_unchanged", compare, folder)
    results |= measure("finished_study", train, folder)
    model = next((folder / "out" / "demo" / "cells").glob("*/model"))
    return results | measure("fill", ["fill", "nike shoes are very [MASK]", str(model)], folder)


def write_thousand(folder: Path, seeds: int) -> tuple[str, int]:
    """Write a study of 5 arms with the given number of seeds. Return the URI of the store and the number of runs."""
    from comparison import write_study
    from winnow.tracking import Store

    store = Store(uri=f"sqlite:///{folder}/thousand/mlflow.db", artifacts=f"{folder}/thousand/artifacts")
    return store.uri, write_study(store, seeds)


def measure_thousand(folder: Path, seeds: int) -> dict[str, float]:
    """Write a study of 5 arms with the given number of seeds, and measure its comparison."""
    # Linux counts the memory of this process before it starts a command, so another process imports the libraries.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        uri, count = pool.apply(write_thousand, (folder, seeds))
    print(f"wrote {count} runs", flush=True)
    arguments = ["compare", "study=thousand", "output_dir=thousand", f"tracking.uri={uri}"]

    def forget_comparison() -> None:
        (folder / "thousand" / "thousand" / "comparison.record.json").unlink(missing_ok=True)

    results = measure("compare_1000", arguments, folder, forget_comparison)
    return {"compared_runs": count, **results, **measure("compare_1000_unchanged", arguments, folder)}


def main() -> None:
    """Run all measurements and save the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, help="output file for the results")
    parser.add_argument("--steps", type=int, default=20, help="training steps of each cell of the demo")
    parser.add_argument("--seeds", type=int, default=200, help="seeds per arm of the large study, which has 5 arms")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = {
            **measure_composition(folder),
            **measure_demo(folder, options.steps),
            **measure_thousand(folder, options.seeds),
        }
    from winnow.tracking.run_environment import describe_hardware  # imports torch, after all measurements

    results |= {
        "goals_met": {key: results[key] <= goal for key, goal in GOALS.items()},
        "seconds": round(time.monotonic() - started),
        "load": round(os.getloadavg()[0], 2),
        "hardware": describe_hardware(),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
