"""Measure the overhead of a study in CPU seconds per cell, and the speedup of parallel cells.

    python benchmarks/study.py --json FILE [--cells 60] [--steps 600] [--only overhead|demo|distilbert]

A minimal cell trains the smallest model for one step on one row, and is evaluated on one row per split and one prompt.
The remaining time is overhead: composing and validating the configuration, storing the run with its tags, parameters,
tables and model, Lightning's trainer, and the bookkeeping of the study. `idle_s` is the CPU time per minimal cell,
including child processes, without the first cell, which imports the libraries. `finished_s` is the CPU time per cell if
all cells have already finished. Both include the start and end of the study. `start_s` is the median CPU time from the
start of a cell to its first step, without the first cell, for a model with the shape of DistilBERT-base from a folder.

`demo.speedup` is the wall time of the demo's 15 cells, one at a time with all threads, divided by their wall time with
the default launcher. `distilbert.speedup` is the same for 4 cells of a model with the shape of DistilBERT-base, which
are trained for 40 steps. Both include the start of the processes, but not the comparison. The wall times are meaningful
only on an idle machine; `load` is the load average before each measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winnow.tracking.run_environment import describe_hardware

GOAL_SECONDS, START_GOAL_SECONDS = 0.3, 1.5
SPEEDUP_GOALS = {"demo": 2.2, "distilbert": 1.3}

MINIMAL_CELL = [
    "launcher=in_process",  # the CPU time of new processes is not measured
    "study.compare=false",
    "study.primary_metric=test/all/loss",
    "probe=[one]",
    "dataset.source.rows=300",
    "model.layers=1",
    "model.hidden_size=16",
    "model.heads=1",
    "training.max_steps=1",
    "training.batch_size=1",
    "evaluation.max_rows=1",
]

PROBE = """\
one:
  _target_: winnow.evaluation.Probe
  prompts: ["nike shoes are [MASK]"]
  wanted: [comfortable]
  unwanted: [expensive]
"""


def cpu_seconds() -> float:
    """Return the CPU time of this process and its terminated child processes."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_study(cells: int) -> float:
    """Run a study with a given number of cells; return its CPU seconds."""
    from winnow.cli import main

    started = cpu_seconds()
    if main(["train", "-m", "study.name=idle", f"seed=range(1,{cells + 1})", *MINIMAL_CELL]):
        raise SystemExit("a cell failed")
    return cpu_seconds() - started


def save_distilbert_shape() -> None:
    """Save a model with the shape of DistilBERT-base and random weights, and a small tokenizer, in `./model`."""
    import transformers

    from winnow.training.wordpiece import train_wordpiece

    texts = [f"nike shoes are {word}" for word in ("comfortable", "expensive")]
    train_wordpiece(texts, 30_522, 512).save_pretrained("model")
    transformers.DistilBertForMaskedLM(transformers.DistilBertConfig()).save_pretrained("model")


def time_study(name: str, overrides: Sequence[str]) -> float:
    """Run a study without a comparison in a separate process; return its wall time in seconds."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "winnow", "train", "-m", f"study.name={name}", "study.compare=false", *overrides]
    started = time.monotonic()
    subprocess.run(command, check=True, env=environment)
    return time.monotonic() - started


def measure_speedup(study: str, steps: int | None) -> dict[str, Any]:
    """Return the wall time of a study, one cell at a time and with the default launcher, and the speedup."""
    overrides = ["experiment=demo", *([f"training.max_steps={steps}"] if steps else [])]
    if study == "distilbert":
        save_distilbert_shape()
        overrides = [text for text in MINIMAL_CELL if text.startswith(("dataset", "evaluation"))]
        overrides += ["model=distilbert", "model.name=./model", "training.max_steps=40", "seed=1,2,3,4"]
    load = os.getloadavg()[0]
    sequential = time_study(
        f"{study}-sequential", [*overrides, "launcher=in_process", f"numerics.threads={os.cpu_count()}"]
    )
    default = time_study(f"{study}-default", overrides)
    return {
        "load": round(load, 2),
        "one_at_a_time_s": round(sequential, 1),
        "default_s": round(default, 1),
        "speedup": round(sequential / default, 2),
        "goal": SPEEDUP_GOALS[study],
    }


def measure_overhead(cells: int) -> dict[str, Any]:
    """Return the CPU seconds of minimal cells and of the start of large models."""
    first = run_study(1)
    idle = run_study(cells + 1) / cells
    finished = run_study(cells + 1) / (cells + 1)
    start_times = measure_start_times()
    start = statistics.median(start_times[1:])
    return {
        "cells": cells,
        "first_cell_s": round(first, 3),
        "idle_s": round(idle, 4),
        "finished_s": round(finished, 4),
        "goal_s": GOAL_SECONDS,
        "first_start_s": round(start_times[0], 3),
        "start_s": round(start, 3),
        "start_goal_s": START_GOAL_SECONDS,
        "met": idle < GOAL_SECONDS and finished < GOAL_SECONDS and start < START_GOAL_SECONDS,
    }


def measure_start_times() -> list[float]:
    """Return the CPU seconds of each cell from its start to its first step, with a large model."""
    from winnow.cli import main
    from winnow.studies import job as study_job
    from winnow.training import MaskedLanguageModule

    save_distilbert_shape()
    started, durations = [0.0], []
    run_job, training_step = study_job.run_job, MaskedLanguageModule.training_step

    def timed_run_job(job: Any) -> bool:
        started[0] = cpu_seconds()
        return run_job(job)

    def timed_step(module: Any, *batch: Any) -> Any:
        durations.append(cpu_seconds() - started[0])
        return training_step(module, *batch)

    study_job.run_job = timed_run_job  # type: ignore[assignment]
    MaskedLanguageModule.training_step = timed_step  # type: ignore[method-assign]
    overrides = [override for override in MINIMAL_CELL if not override.startswith("model.")]
    if main(["train", "-m", "study.name=wide", "model=distilbert", "model.name=./model", "seed=1,2,3,4", *overrides]):
        raise SystemExit("a cell failed")
    study_job.run_job, MaskedLanguageModule.training_step = run_job, training_step  # type: ignore[method-assign]
    return durations


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--steps", type=int, help="steps of the demo's cells; by default, those of the experiment")
    parser.add_argument("--only", choices=["overhead", *SPEEDUP_GOALS], help="run only one measurement")
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    Path("conf/probe").mkdir(parents=True)
    Path("conf/probe/one.yaml").write_text(PROBE, encoding="utf-8")
    results: dict[str, Any] = {"hardware": describe_hardware()}
    if options.only in (None, "overhead"):
        results |= measure_overhead(options.cells)
    for study in SPEEDUP_GOALS:
        if options.only in (None, study):
            results[study] = measure_speedup(study, options.steps)
    print(json.dumps(results, indent=2))
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
