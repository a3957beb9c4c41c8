"""What a study is going to do, and all that would make it break or say nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import LeaveOneOut, RandomMatched
from winnow.run.components import filters_in
from winnow.run.pipeline import can_be_resumed
from winnow.run.slices import apply_filter
from winnow.studies.declared_metrics import metric_errors
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher
from winnow.studies.study_cell import StudyCell, TrainCell
from winnow.tracking import Attempt
from winnow.tracking.environment import current_commit


def with_shared_slices(cells: Sequence[TrainCell]) -> list[TrainCell]:
    """Let the filters of all cells name slices in each of them, so that every arm is measured on the same."""
    slices: dict[str, Any] = {}
    for cell in cells:
        slices |= cell.config.evaluation.slices | filters_in(cell.config.filter)
    shared = []
    for cell in cells:
        evaluation = dataclasses.replace(cell.config.evaluation, slices=slices)
        config = dataclasses.replace(cell.config, evaluation=evaluation)
        shared.append(dataclasses.replace(cell, config=config))
    return shared


def check_plan(cells: Sequence[StudyCell], launcher: Launcher) -> None:
    """Raise, before any work, all that would make the study break or its comparison say nothing."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    faults = [fault.under("launcher") for fault in launcher.check()]
    for one in [cell.components for cell in cells]:
        if fault := _device_fault(one.trainer.keywords, launcher):
            faults.append(fault)
        if study.compare and isinstance(one.filter, RandomMatched) and one.base_filter not in arms:
            told = (
                f"{one.filter.name!r} matches {one.base_filter!r}, which is no arm of this study ({', '.join(arms)}). "
                f"Add {one.base_filter} to the sweep, or write a control for your filter as the README shows."
            )
            faults.append(WinnowError(told, "filter.of"))
    for cell in cells if study.compare else ():
        for key, why in cell.config.training.not_comparable.items():
            told = f"{why}, so its runs cannot be compared. Leave it out, or set study.compare=false."
            faults.append(WinnowError(told, f"training.{key}"))
    faults += [error for cell in cells for error in metric_errors(cell.config, cell.components)]
    if study.compare and len(arms) > 1:
        if study.baseline not in arms:
            told = f"{study.baseline!r} is no arm.{did_you_mean(study.baseline, arms)} Arms: {', '.join(arms)}."
            faults.append(WinnowError(f"{told} Name one, or set study.compare=false.", "study.baseline"))
        if len({(cell.arm, cell.config.seed) for cell in cells}) < len(cells):
            told = "several cells have the same arm and seed, so their scores would be mixed up. Give each filter a "
            faults.append(WinnowError(f"{told}name of its own, or set study.compare=false.", "filter.name"))
    if faults:
        raise WinnowErrors({str(fault): fault for fault in faults}.values())


def _device_fault(options: Mapping[str, Any], launcher: Launcher) -> WinnowError | None:
    """Say what is wrong where the trainer wants other devices than the launcher gives each cell.

    Lightning's own way to several devices starts the whole command again in each process, and so the whole sweep.
    """
    devices, several = options["devices"], str(options["strategy"]) != "auto"
    if launcher.processes > 1:
        if several and devices in (launcher.processes, str(launcher.processes)):
            return None
        told = f"the launcher starts {launcher.processes} processes a cell. Choose trainer=ddp with as many devices."
        return WinnowError(told, "trainer.devices")
    if several or devices not in (1, "1", "auto"):
        told = "a study trains each cell on one device. Choose trainer=cpu or trainer=gpu, or add launcher=torchrun."
        return WinnowError(told, "trainer.devices")
    return None


def check_filters(cells: Sequence[StudyCell]) -> list[str]:
    """Apply all filters of a study before any training, so that one that keeps nothing is reported at once.

    Returns:
        A sentence for each arm that is a filter without one of its signals and yet trains on the same rows.

    Raises:
        WinnowErrors: One for each filter that cannot be applied, under its key as an arm rather than as a slice.
    """
    named = [(cell, name) for cell in cells for name in cell.components.slices]
    faults: dict[str, WinnowError] = {}
    notes: dict[str, str] = {}
    for cell, name in sorted(named, key=lambda one: one[1] != one[0].components.base_filter):
        components = cell.components
        filter_, corpus, key = components.slices[name], components.corpus, components.key_of(name)
        verdicts = apply_filter(filter_, corpus, components.cache, key)
        if name != components.base_filter or not isinstance(components.filter, LeaveOneOut):
            continue
        try:
            components.filter.select(corpus.split("train"), verdicts, cell.config.seed)
        except WinnowError as fault:
            faults.setdefault(str(fault), fault.under("filter"))
            continue
        signal, rest = components.filter.signal, components.filter.derive_verdicts(verdicts)
        if signal is not None and np.array_equal(rest.kept("train"), verdicts.kept("train")):
            why = f"as {name} does, since '{signal}' removes nothing that the others keep"
            notes[cell.arm] = f"{cell.arm} trains on the very same rows {why}."
    if faults:
        raise WinnowErrors(faults.values())
    return list(notes.values())


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done with each cell of a study.

    Attributes:
        jobs: What is to be run, in the order of the grid; cells that another process is training come last.
        finished: Runs of the cells that are done, by cell id.
        elsewhere: Ids of cells that another process is training; they are jobs in case that process dies.
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


def plan_jobs(cells: Sequence[StudyCell], known: Mapping[str, Attempt], parent: str) -> Plan:
    """Decide for each cell whether it is finished, resumes from its checkpoint, or starts from the beginning.

    Args:
        cells: The grid.
        known: For each cell that the store knows, the run that counts, by cell id.
        parent: The study's run.
    """
    rerun = cells[0].config.study.rerun
    plan = Plan([], {}, [], [])
    lost, running = 0, list[Job]()
    for name, cell in {cell.id: cell for cell in cells}.items():
        attempt = known.get(name)
        if attempt and attempt.is_alive:
            plan.elsewhere.append(name)
            running.append(Job(cell.cell, cell.components, name, parent))
        elif attempt and attempt.has_finished and rerun != "all":
            plan.finished[name] = attempt
        else:
            resumes = attempt is not None and can_be_resumed(cell.config, name, attempt)
            lost += attempt is not None and attempt.had_checkpoint and not resumes and rerun == "none"
            plan.jobs.append(
                Job(cell.cell, cell.components, name, parent, attempt.run_id if attempt and resumes else None)
            )
    plan.jobs.extend(running)
    if lost:
        told = f"{_cells(lost)} broke off and the checkpoint is gone"
        plan.remarks.append(f"{told}, so training starts at step 0 again, in a new run.")
    if plan.elsewhere:
        plan.remarks.append(f"Another process is training {_cells(len(plan.elsewhere))}; the comparison waits for it.")
    here = current_commit()
    others = sorted({one.commit[:10] for one in plan.finished.values() if one.commit and one.commit != here})
    if here and others:
        told = f"Finished cells were made by commit {', '.join(others)}, while the code is at {here[:10]} now"
        plan.remarks.append(f"{told}; they are kept. study.rerun=all trains them again.")
    return plan


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
