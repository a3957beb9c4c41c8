"""The loop over the cells of a study, shared by every command that runs several cells."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from winnow.errors import WinnowError
from winnow.studies.display import Board, shown
from winnow.studies.job import Job
from winnow.studies.joining import wait_for_others
from winnow.studies.launchers import Launcher
from winnow.studies.plan import Plan
from winnow.studies.study_cell import StudyCell
from winnow.tracking import Store, close_stale_runs, sync
from winnow.tracking.store_errors import explain


def run_plan(cells: Sequence[StudyCell], plan: Plan, launcher: Launcher, store: Store, console: Console) -> list[str]:
    """Run the jobs of a plan and show their progress; a cell that fails does not stop the others.

    Args:
        cells: All cells of the study.
        plan: Which of them run, and which are finished.
        launcher: Where they run.
        store: Where they are tracked.
        console: Where progress is printed.

    Returns:
        One line per failed cell.
    """
    board = Board(cells, plan, launcher.at_once)
    try:
        _run_jobs(plan, launcher, board, console)
    finally:
        bring_up_to_date(store, cells[0].config.study.name)
    return board.failures


def _run_jobs(plan: Plan, launcher: Launcher, board: Board, console: Console) -> None:
    if not plan.jobs:
        return
    for job in plan.jobs:
        job.save()
    left, others = plan.jobs, list[Job]()
    with shown(board, console) as lines:
        while left or others:
            ends = launcher.launch(left) if left else (job for job in left)
            try:
                for job in ends:
                    if job.status.state in ("finished", "failed"):
                        lines.print(board.ended(job), soft_wrap=True)
                    else:  # another process trains it
                        others.append(job)
            finally:
                ends.close()
            left = []
            if others:
                lines.print(f"[dim]waiting for {len(others)} cells that other processes train[/dim]")
                ended, left = wait_for_others(others)
                for job in ended:
                    lines.print(board.ended(job), soft_wrap=True)
                others = [job for job in others if job not in ended and job not in left]


def bring_up_to_date(store: Store, study: str) -> WinnowError | None:
    """Send what cells could not, and close runs whose process was killed; return the error if the store is gone."""
    from mlflow.exceptions import MlflowException

    try:
        sync(store)
        close_stale_runs(store, store.experiment(study))
        store.client()
    except WinnowError as error:
        return error
    except MlflowException as error:  # it stopped answering between two requests
        return explain(store.uri, error)
    return None


def print_failures(console: Console, failures: Sequence[str]) -> None:
    """Print which cells failed, and that the same command runs only them again."""
    if failures:
        cells = "1 cell" if len(failures) == 1 else f"{len(failures)} cells"
        console.print(f"\n[red]{cells} failed[/red]; what finished is kept, and the same command runs the rest:")
        for failure in failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)
