"""Run a study: check and declare it, plan and run its jobs, then compare the arms."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from winnow.config import construct
from winnow.errors import WinnowError
from winnow.run.run_components import check_components, check_store
from winnow.studies.launchers import Launcher
from winnow.studies.parallelism import share_machine
from winnow.studies.plan_runner import print_failures, run_plan, sync_and_close_runs
from winnow.studies.process_coordination import track_study_run
from winnow.studies.random_controls import add_controls, share_controls
from winnow.studies.study_cell import TrainCell, build_study_cells
from winnow.studies.study_declaration import build_declaration, check_same_settings, check_same_version
from winnow.studies.study_plan import (
    StudyPlan,
    check_cluster_columns,
    check_filters,
    check_plan,
    plan_jobs,
    share_slices,
)
from winnow.studies.sweep_ending import end_sweep, explain_missing_verdict
from winnow.tracking import Store, close_stale_runs, keys, load_attempts, sync, track
from winnow.tracking.run_queries import read_json_artifact


def run_study(cells: Sequence[TrainCell], console: Console, search: Mapping[str, Any] | None = None) -> int:
    """Run every unfinished cell of a study, then compare the arms.

    Args:
        cells: All of the study's cells.
        console: The console for progress messages.
        search: The search that chose the settings of the filter, for the declaration; `None` if there was none.

    Returns:
        The number of failed cells.

    Raises:
        WinnowErrors: If the configuration of any cell is invalid. The errors of all cells are reported together, before
            any training.
    """
    study = cells[0].config.study
    if any(cell.config.study != study for cell in cells):
        raise WinnowError(
            "the cells of the sweep have different study settings. Remove study.* keys from the sweep.", "study"
        )
    study_cells = build_study_cells(share_slices(add_controls(cells)))
    config = study_cells[0].config
    launcher = construct(config.launcher, "launcher", Launcher, config.allow_targets)  # type: ignore[type-abstract]
    check_plan(study_cells, launcher)
    store = study_cells[0].components.store
    check_store(store)
    for line in sync(store):  # upload before planning, so that spooled runs count as finished
        console.print(f"Uploaded spooled data: {escape(line)}", style="dim")
    experiment, title = store.experiment(study.name), f"{study.name} (study)"
    for line in close_stale_runs(store, experiment):
        console.print(f"Closed the run of a dead process: {escape(line)}", style="dim")
    previous_attempts = load_attempts(store, experiment)
    check_same_version(study.name, previous_attempts)
    try:
        check_components([cell.components for cell in study_cells])
        check_cluster_columns(study_cells)
        for note in check_filters(study_cells):
            console.print(escape(note), style="yellow")
        study_cells, controls = share_controls(study_cells)
        declaration = build_declaration(study_cells, controls) | ({"search": dict(search)} if search else {})
        check_same_settings(study_cells, previous_attempts)
    except WinnowError:
        with track(
            store, experiment, title, {keys.KIND: "study", keys.STUDY: study.name}
        ):  # log the failure to the store
            raise
    folder = config.output_dir / study.name
    with track_study_run(store, title, declaration, folder) as parent:
        if parent.run is None:
            console.print(
                "Another process is already running this study; the two processes share the cells.",
                style="yellow",
            )
        plan = plan_jobs(study_cells, load_attempts(store, experiment), parent.run_id)
        read_threads = functools.partial(_read_recorded_threads, store, plan)
        parallel_plan = share_machine(plan.jobs, launcher, len({cell.id for cell in study_cells}), read_threads)
        plan, launcher = dataclasses.replace(plan, jobs=parallel_plan.jobs), parallel_plan.launcher
        _print_plan(console, declaration, plan, _describe_launcher(launcher, parallel_plan.description))
        if reason := explain_missing_verdict(config, declaration):
            console.print(f"[yellow]note[/yellow]  There will be no verdict: {escape(reason)}", soft_wrap=True)
        failures = run_plan(study_cells, plan, launcher, store, console)
        store_error = sync_and_close_runs(store, study.name)
        if store_error is None:
            end_sweep(config, store, declaration, console, complete=not failures)
        if failures and parent.run is not None:
            parent.run.set_tags({keys.FAILURE_REASON: "; ".join(failures)})
    print_failures(console, failures)
    if store_error is not None:
        spool_note = f"The logged data is saved in {store.spool_folder}; finished cells will not be trained again."
        fix = "When the store is available, run winnow sync, then run the same command again to compare the arms."
        raise WinnowError(f"{store_error.message} {spool_note} {fix}", "tracking.uri") from store_error
    return len(failures)


def _print_plan(console: Console, declaration: dict[str, Any], plan: StudyPlan, launcher: str) -> None:
    console.print(f"\n[bold]Study {escape(declaration['study'])}[/bold]: {len(set(declaration['cells']))} cells")
    console.print(f"  arms      {escape(_list_first([declaration['arm_labels'][arm] for arm in declaration['arms']]))}")
    for key, levels in declaration["factors"].items():
        console.print(f"  factor    {escape(f'{key}: {_list_first(levels)}')}")
    console.print(f"  seeds     {_list_first(declaration['seeds'])}")
    console.print(f"  primary   {escape(declaration['primary_metric'])}")
    console.print(f"  finished  {len(plan.finished_attempts)}")
    console.print(f"  to resume {plan.resumed_count}")
    console.print(f"  to run    {len(plan.jobs) - plan.resumed_count}")
    console.print(f"  launcher  {launcher}\n", soft_wrap=True)
    for note in plan.notes:
        console.print(f"[yellow]note[/yellow]  {escape(note)}", soft_wrap=True)


def _list_first(values: Sequence[Any], limit: int = 12) -> str:
    """Return the first values as text, followed by the number of remaining values."""
    shown, remaining = ", ".join(map(str, values[:limit])), len(values) - limit
    return shown if remaining <= 0 else f"{shown} and {remaining} more"


def _describe_launcher(launcher: Launcher, resources: str) -> str:
    count = launcher.max_parallel_cells
    text = f"{type(launcher).__name__}, {'one cell at a time' if count == 1 else f'up to {count} cells in parallel'}"
    processes = launcher.processes_per_cell
    text += f", {processes} processes per cell" if processes > 1 else ""
    return f"{text}, {resources}" if resources else text


def _read_recorded_threads(store: Store, plan: StudyPlan) -> int | None:
    """Return the threads of a finished or interrupted run of the study, or `None` if no run recorded them."""
    client = store.client()
    for run_id in (
        *(attempt.run_id for attempt in plan.finished_attempts.values()),
        *(job.run_id for job in plan.jobs),
    ):
        if run_id and (threads := read_json_artifact(client, run_id, keys.NUMERICS).get("threads")):
            return int(threads)
    return None
