"""Check a study's cells before training, and plan which cells to run, resume or skip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from winnow.config.factors import FACTOR_GROUPS
from winnow.config.schema import StudyConfig
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import LeaveOneOut, RandomMatched
from winnow.run.held_out_clusters import find_cluster_error
from winnow.run.held_out_slices import apply_filter
from winnow.run.pipeline import can_resume
from winnow.run.run_components import extract_filters
from winnow.studies.declared_endpoints import check_looks
from winnow.studies.declared_metrics import check_declared_metrics
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher
from winnow.studies.study_cell import StudyCell, TrainCell
from winnow.tracking import Attempt
from winnow.tracking.run_environment import read_git_commit

DEFAULT_BASELINE: Final = StudyConfig().baseline
"""The default baseline. A sweep may lack this arm, but then it ends without a verdict."""


def share_slices(cells: Sequence[TrainCell]) -> list[TrainCell]:
    """Add the filters of all cells as slices to every cell, so that every arm is evaluated on the same slices."""
    slices: dict[str, Any] = {}
    for cell in cells:
        slices |= cell.config.evaluation.slices | extract_filters(cell.config.filter)
    cells_with_slices = []
    for cell in cells:
        evaluation = dataclasses.replace(cell.config.evaluation, slices=slices)
        config = dataclasses.replace(cell.config, evaluation=evaluation)
        cells_with_slices.append(dataclasses.replace(cell, config=config))
    return cells_with_slices


def check_plan(cells: Sequence[StudyCell], launcher: Launcher) -> None:
    """Check, before any training, that the cells can run and that comparing the arms is meaningful.

    Raises:
        WinnowErrors: If any check fails. All errors are reported together.
    """
    study = cells[0].config.study
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    errors = [error.with_prefix("launcher") for error in launcher.check()]
    for components in [cell.components for cell in cells]:
        if error := _check_devices(components.trainer.keywords, launcher):
            errors.append(error)
        if study.compare and isinstance(components.filter, RandomMatched) and components.base_filter_name not in arms:
            message = (
                f"{components.filter.name!r} is a control for {components.base_filter_name!r}, which is not an arm of "
                f"this study. Available: {', '.join(arms)}. Add {components.base_filter_name} to the sweep, or define "
                "a control for your own filter as described in the README."
            )
            errors.append(WinnowError(message, "filter.of"))
    for cell in cells if study.compare else ():
        for key, reason in cell.config.training.not_comparable.items():
            message = f"{reason}, so the runs cannot be compared. Remove the setting, or set study.compare=false."
            errors.append(WinnowError(message, f"training.{key}"))
    errors += [error for cell in cells for error in check_declared_metrics(cell.config, cell.components)]
    errors += check_looks(cells)
    if study.compare and len(arms) > 1:
        if study.baseline not in (*arms, DEFAULT_BASELINE):
            suggestion = did_you_mean(study.baseline, arms)
            message = f"unknown arm {study.baseline!r}.{suggestion} Available: {', '.join(arms)}."
            errors.append(
                WinnowError(f"{message} Choose one of these arms, or set study.compare=false.", "study.baseline")
            )
        errors += _check_unique_cells(cells)
    if errors:
        raise WinnowErrors({str(error): error for error in errors}.values())


def _check_unique_cells(cells: Sequence[StudyCell]) -> list[WinnowError]:
    """Return an error if several cells have the same arm, factor levels and seed, or if their factors differ."""
    if len({tuple(cell.levels) for cell in cells}) > 1:
        message = "the cells of the sweep declare different factors. Declare the same factors for all cells."
        return [WinnowError(message, "factors")]
    positions = [(cell.arm, *cell.levels.values(), cell.config.seed) for cell in cells]
    if len(set(positions)) == len(cells):
        return []
    overrides = [set(cell.cell.overrides) for cell in cells]
    varying_overrides = set[str]().union(*overrides) - overrides[0].intersection(*overrides)
    varying = {text.partition("=")[0].lstrip("+") for text in varying_overrides}
    keys = sorted(key for key in varying if key != "seed" and key.partition(".")[0] not in (*FACTOR_GROUPS, "filter"))
    if keys:
        message = (
            f"arms are not compared across values of this setting. Allowed in a sweep: filter, seed and settings of "
            f"{', '.join(FACTOR_GROUPS)}. Run one study per value, or set study.compare=false."
        )
        return [WinnowError(message, key) for key in keys]
    message = "several cells have the same arm and seed. Set a unique filter.name for each filter, or set"
    return [WinnowError(f"{message} study.compare=false.", "filter.name")]


def _check_devices(options: Mapping[str, Any], launcher: Launcher) -> WinnowError | None:
    """Return an error if the trainer's number of devices does not match the launcher.

    In a distributed run without torchrun, each process that Lightning starts would run the full sweep again.
    """
    devices, is_distributed = options["devices"], str(options["strategy"]) != "auto"
    if launcher.processes_per_cell > 1:
        if is_distributed and devices in (launcher.processes_per_cell, str(launcher.processes_per_cell)):
            return None
        count = launcher.processes_per_cell
        message = f"expected {count} devices, since the launcher starts {count} processes per cell, got {devices!r}."
        message += f" Set trainer=ddp trainer.devices={count}."
        return WinnowError(message, "trainer.devices")
    if is_distributed or devices not in (1, "1", "auto"):
        message = (
            f"this launcher trains each cell on one device, got {devices!r} with strategy {options['strategy']!r}. "
            "Choose trainer=cpu or trainer=gpu, or use launcher=torchrun."
        )
        return WinnowError(message, "trainer.devices")
    return None


def check_filters(cells: Sequence[StudyCell]) -> list[str]:
    """Apply all filters of a study before any training, so that errors are reported early.

    A filter that several cells share is applied only once.

    Returns:
        A note for each ablation that trains on the same rows as the full filter.

    Raises:
        WinnowErrors: If any filter cannot be applied, with one error per filter.
    """
    errors: dict[str, WinnowError] = {}
    notes: dict[str, str] = {}
    for cell, name in _select_distinct_filters(cells):
        components = cell.components
        filter_, corpus, key = components.slices[name], components.corpus, components.filter_key(name)
        verdicts = apply_filter(filter_, corpus, components.cache, key)
        if name != components.base_filter_name or not isinstance(components.filter, LeaveOneOut):
            continue
        try:
            components.filter.select(corpus.split("train"), verdicts, cell.config.seed)
        except WinnowError as error:
            errors.setdefault(str(error), error.with_prefix("filter"))
            continue
        signal, ablated_verdicts = components.filter.signal, components.filter.derive_verdicts(verdicts)
        if signal is not None and np.array_equal(ablated_verdicts.keep_mask("train"), verdicts.keep_mask("train")):
            reason = f"since '{signal}' drops no row that the other signals keep"
            notes[cell.arm] = f"{cell.arm} trains on the same rows as {name}, {reason}."
    if errors:
        raise WinnowErrors(errors.values())
    return list(notes.values())


def check_cluster_columns(cells: Sequence[StudyCell]) -> None:
    """Check that the column in `evaluation.cluster_by` exists in the corpus of every cell.

    Raises:
        WinnowErrors: If the corpus of any cell lacks the column.
    """
    errors: dict[str, WinnowError] = {}
    for cell in cells:
        columns = cell.components.corpus.table.column_names
        if error := find_cluster_error(columns, cell.config.evaluation.cluster_by):
            errors[str(error)] = error
    if errors:
        raise WinnowErrors(errors.values())


def _select_distinct_filters(cells: Sequence[StudyCell]) -> list[tuple[StudyCell, str]]:
    """Return a cell and a filter name for each distinct filter. Filters that select training rows come first."""
    distinct: dict[tuple[Any, ...], tuple[StudyCell, str]] = {}
    for cell in cells:
        components = cell.components
        corpus = components.corpus.fingerprint
        for name in components.slices:  # the slices of all cells are equal
            arm = cell.arm if name == components.base_filter_name else None
            distinct.setdefault((corpus, name, arm), (cell, name))
    return sorted(distinct.values(), key=lambda pair: pair[1] != pair[0].components.base_filter_name)


@dataclasses.dataclass(frozen=True)
class StudyPlan:
    """The jobs to run, and the cells to skip.

    Attributes:
        jobs: The jobs in cell order, except that jobs for cells that another process is training come last.
        finished_attempts: The runs of finished cells, by cell id.
        running_elsewhere: Ids of cells that another process is training. `jobs` also contains these cells, in case that
            process dies.
        notes: Notes to print for the user.
    """

    jobs: list[Job]
    finished_attempts: dict[str, Attempt]
    running_elsewhere: list[str]
    notes: list[str]

    @property
    def resumed_count(self) -> int:
        """The number of jobs that resume from a checkpoint."""
        return sum(job.run_id is not None for job in self.jobs)


def plan_jobs(cells: Sequence[StudyCell], previous_attempts: Mapping[str, Attempt], parent_run_id: str) -> StudyPlan:
    """Decide for each cell whether to skip it, resume it from its checkpoint, or start it at step 0.

    Args:
        cells: The study's cells.
        previous_attempts: The run that represents each cell in the store, by cell id.
        parent_run_id: The id of the study's parent run.
    """
    rerun = cells[0].config.study.rerun
    plan = StudyPlan([], {}, [], [])
    lost_count, running_jobs = 0, list[Job]()
    for name, cell in {cell.id: cell for cell in cells}.items():
        attempt = previous_attempts.get(name)
        if attempt and attempt.is_alive:
            plan.running_elsewhere.append(name)
            running_jobs.append(Job(cell.cell, cell.components, name, parent_run_id, tags=cell.tags))
        elif attempt and attempt.has_finished and rerun != "all":
            plan.finished_attempts[name] = attempt
        else:
            resumes = attempt is not None and can_resume(cell.config, name, attempt)
            lost_count += attempt is not None and attempt.had_checkpoint and not resumes and rerun == "none"
            run_id = attempt.run_id if attempt and resumes else None
            plan.jobs.append(Job(cell.cell, cell.components, name, parent_run_id, run_id, cell.tags))
    plan.jobs.extend(running_jobs)
    if lost_count:
        plan.notes.append(
            f"The checkpoint of {_count_cells(lost_count)} is missing; training starts at step 0 in a new run."
        )
    if plan.running_elsewhere:
        plan.notes.append(
            f"Another process is training {_count_cells(len(plan.running_elsewhere))}; the comparison starts after all "
            "cells have ended."
        )
    head = read_git_commit()
    commits = sorted({run.commit[:10] for run in plan.finished_attempts.values() if run.commit and run.commit != head})
    if head and commits:
        message = f"Finished cells were trained at commit {', '.join(commits)}; the current commit is {head[:10]}."
        plan.notes.append(f"{message} To train them again, set study.rerun=all.")
    return plan


def _count_cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
