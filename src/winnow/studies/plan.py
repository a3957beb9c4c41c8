"""What a study is going to do, and all that would make it break or say nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import RandomMatched
from winnow.parts import Parts, filters_in

TrainCell = Cell[TrainConfig]


def with_shared_slices(cells: Sequence[TrainCell]) -> list[TrainCell]:
    """Let the filters of all cells name slices in each of them, so that every arm is measured on the same."""
    slices: dict[str, Any] = {}
    for cell in cells:
        slices |= cell.config.evaluation.slices | filters_in(cell.config.filter)
    shared = []
    for cell in cells:
        evaluation = dataclasses.replace(cell.config.evaluation, slices=slices)
        tree = {**cell.tree, "evaluation": {**cell.tree["evaluation"], "slices": slices}}
        config = dataclasses.replace(cell.config, evaluation=evaluation)
        shared.append(dataclasses.replace(cell, config=config, tree=tree))
    return shared


def check_plan(cells: Sequence[TrainCell], parts: Sequence[Parts]) -> None:
    """Raise, before any work, all that would make the study break or its comparison say nothing."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(part.filter.name for part in parts))
    faults = []
    for part in parts:
        # Lightning's own launcher starts the whole command again in each process, and so the whole sweep.
        options = part.trainer.keywords
        if str(options.get("strategy", "auto")) != "auto" or options.get("devices") not in (None, 1, "1", "auto"):
            told = "a study trains each cell on one device. Choose trainer=cpu or trainer=gpu, or leave out -m."
            faults.append(WinnowError(told, "trainer.devices"))
        if study.compare and isinstance(part.filter, RandomMatched) and part.judge not in arms:
            told = (
                f"{part.filter.name!r} matches {part.judge!r}, which is no arm of this study ({', '.join(arms)}). "
                f"Add {part.judge} to the sweep, or write a control for your filter as the README shows."
            )
            faults.append(WinnowError(told, "filter.of"))
    kind, _, rest = study.primary_metric.partition("/")
    probe = rest.partition("/")[0]
    if kind == "probe" and probe not in parts[0].probes:
        known = list(parts[0].probes)
        told = f"there is no probe {probe!r}.{did_you_mean(probe, known)} This study has {', '.join(known)}."
        faults.append(WinnowError(told, "study.primary_metric"))
    if study.compare and len(arms) > 1:
        if study.baseline not in arms:
            told = f"{study.baseline!r} is no arm.{did_you_mean(study.baseline, arms)} Arms: {', '.join(arms)}."
            faults.append(WinnowError(f"{told} Name one, or set study.compare=false.", "study.baseline"))
        if len({(part.filter.name, cell.config.seed) for cell, part in zip(cells, parts, strict=True)}) < len(cells):
            told = "several cells have the same arm and seed, so their scores would be mixed up. Give each filter a "
            faults.append(WinnowError(f"{told}name of its own, or set study.compare=false.", "filter.name"))
    if faults:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())
