"""A study from its plan to its comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from filelock import FileLock
from rich.console import Console
from rich.markup import escape

from winnow.config import TrainConfig, construct
from winnow.errors import WinnowError
from winnow.run.components import check_components, check_store
from winnow.studies.execution import bring_up_to_date, print_failures, run_plan
from winnow.studies.joining import declared_run
from winnow.studies.launchers import Launcher
from winnow.studies.plan import Plan, check_filters, check_plan, plan_jobs, with_shared_slices
from winnow.studies.protocol import declare, refuse_another_study, refuse_another_version
from winnow.studies.study_cell import TrainCell, build_study_cells
from winnow.tracking import Store, attempts, close_stale_runs, keys, sync, track


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
    grid = build_study_cells(with_shared_slices(cells))
    config = grid[0].config
    launcher = construct(config.launcher, "launcher", Launcher, config.allow_targets)  # type: ignore[type-abstract]
    check_plan(grid, launcher)
    store = grid[0].components.store
    check_store(store)
    for line in sync(store):  # what is finished is planned as finished, also if the store could not be told before
        console.print(f"Sent what was kept on this machine: {escape(line)}", style="dim")
    experiment, title = store.experiment(study.name), f"{study.name} (study)"
    for line in close_stale_runs(store, experiment):
        console.print(f"Closed a run that had died: {escape(line)}", style="dim")
    known = attempts(store, experiment)
    refuse_another_version(study.name, known)
    try:
        check_components([cell.components for cell in grid])
        for note in check_filters(grid):
            console.print(escape(note), style="yellow")
        declaration = declare(grid)
        refuse_another_study(grid, known)
    except WinnowError:
        with track(store, experiment, title, {keys.KIND: "study", keys.STUDY: study.name}):  # stores the failure
            raise
    folder = config.output_dir / study.name
    with declared_run(store, title, declaration, folder) as parent:
        if parent.run is None:
            console.print("Another process works on this study; this one joins it.", style="yellow")
        plan = plan_jobs(grid, attempts(store, experiment), parent.run_id)
        _print_plan(console, declaration, plan, launcher)
        failures = run_plan(grid, plan, launcher, store, console)
        unreachable = bring_up_to_date(store, study.name)
        if unreachable is None and study.compare and len(declaration["arms"]) > 1 and len(declaration["seeds"]) > 1:
            with FileLock(folder / "comparison.lock"):
                _compare(config, store, console, complete=not failures)
        if failures and parent.run is not None:
            parent.run.set_tags({keys.CAUSE: "; ".join(failures)})
    print_failures(console, failures)
    if unreachable is not None:
        kept = f"What was logged is kept in {store.unsent_folder}, and no finished cell is trained again."
        fix = "When the store answers, send it with winnow sync, then run the same command again to compare."
        raise WinnowError(f"{unreachable.message} {kept} {fix}", "tracking.uri") from unreachable
    return len(failures)


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


def _compare(config: TrainConfig, store: Store, console: Console, complete: bool) -> None:
    """Compare the arms by what has finished; the report is kept as a run below the study's own."""
    from winnow.reporting import compare

    folder = config.output_dir / config.study.name / "comparison"
    try:
        comparison = compare(store.tracking_uri, config.study.name, folder, unsent=store.unsent)
    except WinnowError as error:
        if complete:
            raise
        console.print(f"\n[yellow]No comparison yet[/yellow]: {escape(error.message)}")
        return
    console.print(f"\n[bold]{escape(comparison.headline)}[/bold]")
    for arm, seeds in comparison.missing_seeds.items():
        console.print(f"[yellow]missing[/yellow]  {escape(arm)} seed {', '.join(map(str, seeds))}")
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True)
