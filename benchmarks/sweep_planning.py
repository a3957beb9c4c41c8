"""Measure the CPU time and the memory of planning a sweep, by default with 1,000 cells.

    python benchmarks/sweep_planning.py --json FILE [--arms 25] [--without-full]

The sweep has 25 arms (the full data and a filter with 24 thresholds) and 40 seeds on the demo's corpus. Planning
consists of composing, checking, filtering, declaring and planning the jobs; imports, the corpus and scoring are
included, training is not.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from winnow.config import TrainConfig, compose_cells, construct
from winnow.run.run_components import check_components
from winnow.studies.launchers import Launcher
from winnow.studies.random_controls import add_controls, share_controls
from winnow.studies.study_cell import build_study_cells
from winnow.studies.study_declaration import build_declaration
from winnow.studies.study_plan import check_filters, check_plan, plan_jobs, share_slices

FILTER = """
_target_: winnow.filters.Filter
name: cheerful
signals:
  mood: {_target_: winnow.filters.VaderSentiment}
keep: mood
"""


def measure_planning(doses: int = 24, seeds: int = 40, with_full: bool = True) -> dict[str, Any]:
    """Plan a sweep in a temporary folder, and return the number of cells, the CPU time and the peak memory."""
    thresholds = ",".join(str(round(0.02 + 0.6 * index / doses, 4)) for index in range(doses))
    filters = "full,cheerful" if with_full else "cheerful"
    overrides = [f"filter={filters}", f"filter.signals.mood.at_least={thresholds}", f"seed=range(1,{seeds + 1})"]
    start = time.process_time()
    cells, _ = compose_cells("train", TrainConfig, overrides, multirun=True)
    composed = time.process_time()
    study_cells = build_study_cells(share_slices(add_controls(cells)))
    config = study_cells[0].config
    launcher = construct(config.launcher, "launcher", Launcher, config.allow_targets)  # type: ignore[type-abstract]
    check_plan(study_cells, launcher)
    check_components([cell.components for cell in study_cells])
    check_filters(study_cells)
    study_cells, controls = share_controls(study_cells)
    build_declaration(study_cells, controls)
    plan = plan_jobs(study_cells, {}, "parent")
    return {
        "cells": len(plan.jobs),
        "compose_cpu_seconds": composed - start,
        "cpu_seconds": time.process_time(),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure and print the result, and write it to a file if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arms", type=int, default=25)
    parser.add_argument(
        "--without-full",
        action="store_true",
        help="thresholds only; with the full data, the sweep repeats it for every threshold, and 10,000 is the limit",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "conf" / "filter"
        conf.mkdir(parents=True)
        (conf / "cheerful.yaml").write_text(FILTER, encoding="utf-8")
        output = options.json.resolve() if options.json else None
        os.chdir(folder)
        plan = measure_planning(options.arms - (not options.without_full), with_full=not options.without_full)
        text = json.dumps({f"plan_{plan['cells']}": plan}, indent=2)
        os.chdir("/")
    print(text)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
