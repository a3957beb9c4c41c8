"""The loop over the cells of a study, shared by every command that runs several cells."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from winnow.studies.display import Board, shown
from winnow.studies.launchers import Launcher
from winnow.studies.plan import Plan
from winnow.studies.study_cell import StudyCell
from winnow.tracking import Store, close_stale_runs


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
    finally:  # processes that the launcher or the machine killed leave runs open
        close_stale_runs(store, store.experiment(cells[0].config.study.name))
    return board.failures


def _run_jobs(plan: Plan, launcher: Launcher, board: Board, console: Console) -> None:
    if not plan.jobs:
        return
    for job in plan.jobs:
        job.save()
    with shown(board, console) as lines:
        ended = launcher.launch(plan.jobs)
        try:
            for job in ended:
                lines.print(board.ended(job), soft_wrap=True)
        finally:
            ended.close()


def print_failures(console: Console, failures: Sequence[str]) -> None:
    """Print which cells failed, and that the same command runs only them again."""
    if failures:
        cells = "1 cell" if len(failures) == 1 else f"{len(failures)} cells"
        console.print(f"\n[red]{cells} failed[/red]; what finished is kept, and the same command runs the rest:")
        for failure in failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)
