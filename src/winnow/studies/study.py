"""A study from its plan to its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from winnow.config import TrainConfig, construct
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.run.components import cell_id, check_parts, check_store, construct_parts
from winnow.run.inputs import judge_filters
from winnow.studies.display import Board, shown
from winnow.studies.launchers import Launcher
from winnow.studies.plan import Plan, TrainCell, check_plan, plan_jobs, with_shared_slices
from winnow.studies.protocol import declare, earlier_declaration, refuse_another_study
from winnow.tracking import Store, attempts, close_stale_runs, keys, track


def run_study(cells: Sequence[TrainCell], console: Console) -> int:
    """Run every cell that has not finished yet, then compare the arms.

    Args:
        cells: All cells of the study; they share everything but what the sweep varies.
        console: Where progress is told.

    Returns:
        The number of cells that failed.

    Raises:
        WinnowErrors: Before any training, with all faults of all cells.
    """
    study = cells[0].config.study
    if any(cell.config.study != study for cell in cells):
        raise WinnowError("every cell of a sweep must belong to the same study; do not sweep over study.*.", "study")
    cells = with_shared_slices(cells)
    parts = [construct_parts(cell.config) for cell in cells]
    launcher = construct(cells[0].config.launcher, "launcher", Launcher, cells[0].config.allow_targets)  # type: ignore[type-abstract]
    check_plan(cells, parts, launcher)
    store = parts[0].store
    check_store(store)
    experiment, title = store.experiment(study.name), f"{study.name} (study)"
    for line in close_stale_runs(store, experiment):
        console.print(f"Closed a run that had died: {escape(line)}", style="dim")
    known = attempts(store, experiment)
    tags = {keys.KIND: "study", keys.STUDY: study.name}
    try:
        check_parts(parts)
        for note in judge_filters(cells, parts):
            console.print(escape(note), style="yellow")
        ids = [cell_id(cell, part) for cell, part in zip(cells, parts, strict=True)]
        refuse_another_study(cells, parts, known)
    except WinnowError:
        with track(store, experiment, title, tags):  # so that the store keeps the failure
            raise
    declaration = declare(cells, parts, ids)
    tags[keys.DECLARED] = fingerprint(declaration)
    earlier = earlier_declaration(store, experiment, tags[keys.DECLARED])
    with track(store, experiment, title, tags, run_id=earlier) as parent:
        if earlier is None:
            parent.log_json(declaration, keys.DECLARATION)
        plan = plan_jobs(cells, parts, ids, known, parent.run_id)
        _print_plan(console, declaration, plan, launcher)
        board = Board(cells, parts, ids, plan, launcher.at_once)
        try:
            _run_jobs(plan, launcher, board, console)
        finally:
            close_stale_runs(store, experiment)  # those of processes that the launcher, or the machine, killed
        if study.compare and len(declaration["arms"]) > 1 and len(declaration["seeds"]) > 1:
            _compare(cells[0].config, store, console, complete=not board.failures and not plan.elsewhere)
        if board.failures:
            parent.set_tags({keys.CAUSE: "; ".join(board.failures)})
    _print_failures(console, board.failures)
    return len(board.failures)


def _run_jobs(plan: Plan, launcher: Launcher, board: Board, console: Console) -> None:
    """Run what the plan says, and show how it goes."""
    if not plan.jobs:
        return
    for job in plan.jobs:
        job.save()
    with shown(board, console) as lines:
        ends = launcher.launch(plan.jobs)
        try:
            for job in ends:
                lines.print(board.ended(job), soft_wrap=True)
        finally:
            ends.close()


def _print_plan(console: Console, declaration: dict[str, Any], plan: Plan, launcher: Launcher) -> None:
    console.print(f"\n[bold]Study {declaration['study']}[/bold]: {len(set(declaration['cells']))} cells")
    console.print(f"  arms      {', '.join(declaration['arms'])}")
    console.print(f"  seeds     {', '.join(map(str, declaration['seeds']))}")
    console.print(f"  primary   {declaration['primary_metric']}")
    console.print(f"  finished  {len(plan.finished)}")
    console.print(f"  to resume {plan.resumed}")
    console.print(f"  to run    {len(plan.jobs) - plan.resumed}")
    console.print(f"  launcher  {launcher}\n")
    for remark in plan.remarks:
        console.print(f"[yellow]note[/yellow]  {escape(remark)}", soft_wrap=True)


def _print_failures(console: Console, failures: Sequence[str]) -> None:
    if failures:
        cells = "1 cell" if len(failures) == 1 else f"{len(failures)} cells"
        console.print(f"\n[red]{cells} failed[/red]; what finished is kept, and the same command runs the rest:")
        for failure in failures:
            console.print(f"  {escape(failure)}", soft_wrap=True)


def _compare(config: TrainConfig, store: Store, console: Console, complete: bool) -> None:
    """Compare the arms by what has finished; the report is kept as a run below the study's own."""
    from winnow.reporting import compare

    folder = config.output_dir / config.study.name / "comparison"
    try:
        comparison = compare(store.tracking_uri, config.study.name, folder)
    except WinnowError as error:
        if complete:
            raise
        console.print(f"\n[yellow]No comparison yet[/yellow]: {escape(error.message)}")
        return
    console.print(f"\n[bold]{escape(comparison.headline)}[/bold]")
    for arm, seeds in comparison.missing_seeds.items():
        console.print(f"[yellow]missing[/yellow]  {escape(arm)} seed {', '.join(map(str, seeds))}")
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
