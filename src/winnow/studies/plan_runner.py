"""Run the jobs of a study plan; used by every command that runs several cells."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from winnow.errors import WinnowError
from winnow.studies.job import FINAL_STATES, Job
from winnow.studies.launchers import Launcher
from winnow.studies.process_coordination import wait_for_other_processes
from winnow.studies.study_cell import StudyCell
from winnow.studies.study_plan import StudyPlan
from winnow.studies.study_progress import StudyProgress, show_progress
from winnow.tracking import Store, close_stale_runs, sync
from winnow.tracking.store_errors import build_store_error


def run_plan(
    cells: Sequence[StudyCell], plan: StudyPlan, launcher: Launcher, store: Store, console: Console
) -> list[str]:
    """Run a plan's jobs and display their progress; a failed cell does not stop other cells.

    Args:
        cells: All of the study's cells.
        plan: The study's plan.
        launcher: The launcher that runs the jobs.
        store: The store that contains the study.
        console: The console for progress messages.

    Returns:
        One line per failed cell.
    """
    progress = StudyProgress(cells, plan, launcher.max_parallel_cells)
    try:
        _run_jobs(plan, launcher, progress, console)
    finally:
        sync_and_close_runs(store, cells[0].config.study.name)
    return progress.failures


def _run_jobs(plan: StudyPlan, launcher: Launcher, progress: StudyProgress, console: Console) -> None:
    if not plan.jobs:
        return
    for job in plan.jobs:
        job.save()
    remaining_jobs, external_jobs = plan.jobs, list[Job]()
    with show_progress(progress, console) as line_console:
        while remaining_jobs or external_jobs:
            launched_jobs = launcher.launch(remaining_jobs) if remaining_jobs else (job for job in remaining_jobs)
            try:
                for job in launched_jobs:
                    if job.status.state in FINAL_STATES:
                        line_console.print(progress.record_final_status(job), soft_wrap=True)
                    else:  # another process is training this cell
                        external_jobs.append(job)
            finally:
                launched_jobs.close()
            remaining_jobs = []
            if external_jobs:
                line_console.print(f"[dim]waiting for {len(external_jobs)} cells in other processes[/dim]")
                ended_jobs, remaining_jobs = wait_for_other_processes(external_jobs)
                for job in ended_jobs:
                    line_console.print(progress.record_final_status(job), soft_wrap=True)
                external_jobs = [job for job in external_jobs if job not in ended_jobs and job not in remaining_jobs]


def sync_and_close_runs(store: Store, study: str) -> WinnowError | None:
    """Upload spooled data, and close runs whose process was killed; return an error if the store is unavailable."""
    from mlflow.exceptions import MlflowException

    try:
        sync(store)
        close_stale_runs(store, store.experiment(study))
        store.client()
    except WinnowError as error:
        return error
    except MlflowException as error:  # the store became unavailable between two requests
        return build_store_error(store.uri, error)
    return None


def print_failures(console: Console, failures: Sequence[str]) -> None:
    """Print the failed cells and how to run these cells again."""
    if failures:
        cells = "1 cell" if len(failures) == 1 else f"{len(failures)} cells"
        console.print(f"\n[red]{cells} failed[/red]. Run the same command again to run only unfinished cells:")
        for failure in failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)
