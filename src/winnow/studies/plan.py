"""What a study is going to do, and all that would make it break or say nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import RandomMatched
from winnow.run.components import Parts, filters_in
from winnow.run.pipeline import can_be_resumed
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher
from winnow.tracking import Attempt
from winnow.tracking.environment import current_commit

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


def check_plan(cells: Sequence[TrainCell], parts: Sequence[Parts], launcher: Launcher) -> None:
    """Raise, before any work, all that would make the study break or its comparison say nothing."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(part.filter.name for part in parts))
    faults = [fault.under("launcher") for fault in launcher.check()]
    for part in parts:
        if fault := _device_fault(part.trainer.keywords, launcher):
            faults.append(fault)
        if study.compare and isinstance(part.filter, RandomMatched) and part.judge not in arms:
            told = (
                f"{part.filter.name!r} matches {part.judge!r}, which is no arm of this study ({', '.join(arms)}). "
                f"Add {part.judge} to the sweep, or write a control for your filter as the README shows."
            )
            faults.append(WinnowError(told, "filter.of"))
    for cell in cells if study.compare else ():
        for key, why in cell.config.training.not_comparable.items():
            told = f"{why}, so its runs cannot be compared. Leave it out, or set study.compare=false."
            faults.append(WinnowError(told, f"training.{key}"))
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


def _device_fault(options: Mapping[str, Any], launcher: Launcher) -> WinnowError | None:
    """Say what is wrong where the trainer wants other devices than the launcher gives each cell.

    Lightning's own way to several devices starts the whole command again in each process, and so the whole sweep.
    """
    devices, several = options.get("devices"), str(options.get("strategy", "auto")) != "auto"
    if launcher.processes > 1:
        if several and devices in (launcher.processes, str(launcher.processes)):
            return None
        told = f"the launcher starts {launcher.processes} processes a cell. Choose trainer=ddp with as many devices."
        return WinnowError(told, "trainer.devices")
    if several or devices not in (None, 1, "1", "auto"):
        told = "a study trains each cell on one device. Choose trainer=cpu or trainer=gpu, or add launcher=torchrun."
        return WinnowError(told, "trainer.devices")
    return None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done with each cell of a study.

    Attributes:
        jobs: What is to be run, in the order of the grid.
        finished: Runs of the cells that are done, by cell id.
        elsewhere: Ids of cells that another process is training.
        remarks: What the user should know of it.
    """

    jobs: list[Job]
    finished: dict[str, Attempt]
    elsewhere: list[str]
    remarks: list[str]

    @property
    def resumed(self) -> int:
        """How many of the jobs go on from a checkpoint."""
        return sum(job.run_id is not None for job in self.jobs)


def plan_jobs(
    cells: Sequence[TrainCell], parts: Sequence[Parts], ids: Sequence[str], known: Mapping[str, Attempt], parent: str
) -> Plan:
    """Decide for each cell whether it is done, goes on from its checkpoint, or starts afresh.

    Args:
        cells: The grid.
        parts: What each cell's configuration names.
        ids: The cells' ids.
        known: The run that counts of each cell that the store knows.
        parent: The study's run.
    """
    rerun = cells[0].config.study.rerun
    plan = Plan([], {}, [], [])
    lost = 0
    for name, (cell, part) in dict(zip(ids, zip(cells, parts, strict=True), strict=True)).items():
        attempt = known.get(name)
        if attempt and attempt.is_alive:
            plan.elsewhere.append(name)
        elif attempt and attempt.has_finished and rerun != "all":
            plan.finished[name] = attempt
        else:
            resumes = attempt is not None and can_be_resumed(cell.config, name, attempt)
            lost += attempt is not None and attempt.had_checkpoint and not resumes and rerun == "none"
            plan.jobs.append(Job(cell, part, name, parent, attempt.run_id if attempt and resumes else None))
    if lost:
        told = f"{_cells(lost)} broke off and the checkpoint is gone"
        plan.remarks.append(f"{told}, so training starts at step 0 again, in a new run.")
    if plan.elsewhere:
        plan.remarks.append(f"Another process is training {_cells(len(plan.elsewhere))}, left to it.")
    here = current_commit()
    others = sorted({one.commit[:10] for one in plan.finished.values() if one.commit and one.commit != here})
    if here and others:
        told = f"Finished cells were made by commit {', '.join(others)}, while the code is at {here[:10]} now"
        plan.remarks.append(f"{told}; they are kept. study.rerun=all trains them again.")
    return plan


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
