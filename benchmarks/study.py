"""Measure the overhead of a study: CPU seconds per cell with minimal training.

    python benchmarks/study.py --json FILE [--cells 60]

A minimal cell trains the smallest model for one step on one row, and is evaluated on one row per split and one prompt.
The remaining time is overhead: composing and validating the configuration, storing the run with its tags, parameters,
tables and model, Lightning's trainer, and the bookkeeping of the study. `idle_s` is the CPU time per minimal cell,
including child processes, without the first cell, which imports the libraries. `finished_s` is the CPU time per cell if
all cells have already finished. Both include the start and end of the study. `start_s` is the median CPU time from the
start of a cell to its first step, without the first cell, for a model with the shape of DistilBERT-base from a folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

from winnow.tracking.run_environment import describe_hardware

GOAL_SECONDS, START_GOAL_SECONDS = 0.3, 1.5

MINIMAL_CELL = [
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


def measure_start_times() -> list[float]:
    """Return the CPU seconds of each cell from its start to its first step, with a large model."""
    import transformers

    from winnow.cli import main
    from winnow.studies import launchers
    from winnow.training import MaskedLanguageModule
    from winnow.training.wordpiece import train_wordpiece

    texts = [f"nike shoes are {word}" for word in ("comfortable", "expensive")]
    train_wordpiece(texts, 30_522, 512).save_pretrained("model")
    transformers.DistilBertForMaskedLM(transformers.DistilBertConfig()).save_pretrained("model")
    started, durations = [0.0], []
    run_job, training_step = launchers.run_job, MaskedLanguageModule.training_step

    def timed_run_job(job: Any) -> bool:
        started[0] = cpu_seconds()
        return run_job(job)

    def timed_step(module: Any, *batch: Any) -> Any:
        durations.append(cpu_seconds() - started[0])
        return training_step(module, *batch)

    launchers.run_job = timed_run_job
    MaskedLanguageModule.training_step = timed_step  # type: ignore[method-assign]
    overrides = [override for override in MINIMAL_CELL if not override.startswith("model.")]
    if main(["train", "-m", "study.name=wide", "model=distilbert", "model.name=./model", "seed=1,2,3,4", *overrides]):
        raise SystemExit("a cell failed")
    launchers.run_job, MaskedLanguageModule.training_step = run_job, training_step  # type: ignore[method-assign]
    return durations


def main() -> None:
    """Measure, print the results, and write them to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cells", type=int, default=60)
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    Path("conf/probe").mkdir(parents=True)
    Path("conf/probe/one.yaml").write_text(PROBE, encoding="utf-8")
    first = run_study(1)
    idle = run_study(options.cells + 1) / options.cells
    finished = run_study(options.cells + 1) / (options.cells + 1)
    start_times = measure_start_times()
    start = statistics.median(start_times[1:])
    results = {
        "hardware": describe_hardware(),
        "cells": options.cells,
        "first_cell_s": round(first, 3),
        "idle_s": round(idle, 4),
        "finished_s": round(finished, 4),
        "goal_s": GOAL_SECONDS,
        "first_start_s": round(start_times[0], 3),
        "start_s": round(start, 3),
        "start_goal_s": START_GOAL_SECONDS,
        "met": idle < GOAL_SECONDS and finished < GOAL_SECONDS and start < START_GOAL_SECONDS,
    }
    print(json.dumps(results, indent=2))
    if target:
        target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
