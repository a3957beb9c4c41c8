"""What a study costs beside its trainings: CPU seconds of harness for each cell that does next to nothing.

    python benchmarks/study.py --json FILE [--cells 60]

A cell that does nothing trains one step on one row, with the smallest model, and is measured on one row of each split
and one prompt;
all that is left is harness: composing and checking its configuration, its run in the store with all tags, parameters,
tables and the model, Lightning's trainer, and the study's own book-keeping. `idle_s` is the CPU time of such cells,
processes that they start included, after the first, which loads the libraries. `finished_s` is that of a cell that the
same command finds done. Both count the study's beginning and end. `start_s` is the median CPU time that the cells after
the first take from their beginning to their first step, with a model of DistilBERT-base's shape from a folder.
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

from winnow.tracking.environment import hardware

GOAL_SECONDS, START_GOAL_SECONDS = 0.3, 1.5

IDLE = [
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
    """Return the CPU time so far of this process and of those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def run(cells: int) -> float:
    """Run a study of so many cells and return the CPU seconds it took."""
    from winnow.cli import main

    begun = cpu_seconds()
    if main(["train", "-m", "study.name=idle", f"seed=range(1,{cells + 1})", *IDLE]):
        raise SystemExit("a cell failed")
    return cpu_seconds() - begun


def starts() -> list[float]:
    """Return the CPU seconds that each cell takes to its first step, with a model that is not small."""
    import transformers

    from winnow.cli import main
    from winnow.studies import launchers
    from winnow.training import MaskedLanguageModule
    from winnow.training.wordpiece import train_wordpiece

    texts = [f"nike shoes are {word}" for word in ("comfortable", "expensive")]
    train_wordpiece(texts, 30_522, 512).save_pretrained("model")
    transformers.DistilBertForMaskedLM(transformers.DistilBertConfig()).save_pretrained("model")
    begun, taken = [0.0], []
    run_job, training_step = launchers.run_job, MaskedLanguageModule.training_step

    def begin(job: Any) -> bool:
        begun[0] = cpu_seconds()
        return run_job(job)

    def step(module: Any, *batch: Any) -> Any:
        taken.append(cpu_seconds() - begun[0])
        return training_step(module, *batch)

    launchers.run_job = begin
    MaskedLanguageModule.training_step = step  # type: ignore[method-assign]
    wide = [one for one in IDLE if not one.startswith("model.")]
    if main(["train", "-m", "study.name=wide", "model=distilbert", "model.name=./model", "seed=1,2,3,4", *wide]):
        raise SystemExit("a cell failed")
    launchers.run_job, MaskedLanguageModule.training_step = run_job, training_step  # type: ignore[method-assign]
    return taken


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cells", type=int, default=60)
    options = parser.parse_args()
    target = options.json.resolve() if options.json else None
    os.chdir(tempfile.mkdtemp())
    Path("conf/probe").mkdir(parents=True)
    Path("conf/probe/one.yaml").write_text(PROBE, encoding="utf-8")
    first = run(1)
    idle = run(options.cells + 1) / options.cells
    finished = run(options.cells + 1) / (options.cells + 1)
    begun = starts()
    start = statistics.median(begun[1:])
    found = {
        "hardware": hardware(),
        "cells": options.cells,
        "first_cell_s": round(first, 3),
        "idle_s": round(idle, 4),
        "finished_s": round(finished, 4),
        "goal_s": GOAL_SECONDS,
        "first_start_s": round(begun[0], 3),
        "start_s": round(start, 3),
        "start_goal_s": START_GOAL_SECONDS,
        "met": idle < GOAL_SECONDS and finished < GOAL_SECONDS and start < START_GOAL_SECONDS,
    }
    print(json.dumps(found, indent=2))
    if target:
        target.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
