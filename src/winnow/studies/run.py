"""A study from its plan to its comparison."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from winnow.config import TrainConfig
from winnow.errors import WinnowError
from winnow.parts import Parts, cell_folder, cell_id, check_parts, check_store, construct_parts
from winnow.pipeline import run_cell
from winnow.preparation import judge_filters
from winnow.studies.declaration import declare
from winnow.studies.plan import TrainCell, check_plan, with_shared_slices
from winnow.tracking import Store, TrackedRun, record, track


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
    check_plan(cells, parts)
    store = parts[0].store
    check_store(store)
    experiment = store.experiment(study.name)
    tags = {record.KIND: "study", record.STUDY: study.name}
    with track(store, experiment, f"{study.name} (study)", tags) as parent:
        check_parts(parts)
        judge_filters(cells, parts)
        ids = [cell_id(cell, part) for cell, part in zip(cells, parts, strict=True)]
        declaration = declare(cells, parts, ids)
        parent.log_json(declaration, record.DECLARATION)
        done = set() if study.rerun == "all" else finished_cells(parent, experiment)
        _print_plan(console, declaration, ids, done)
        failures = _run_cells(cells, parts, ids, done, parent, console)
        if study.compare and not failures and len(declaration["arms"]) > 1 and len(declaration["seeds"]) > 1:
            _compare(cells[0].config, store, console)
        if failures:
            parent.set_tags({record.CAUSE: "; ".join(failures)})
    _print_failures(console, failures)
    return len(failures)


def finished_cells(run: TrackedRun, experiment: str) -> set[str]:
    """Return the ids of the cells of an experiment that have finished."""
    found: set[str] = set()
    token = None
    while True:
        page = run.client.search_runs(
            [experiment],
            f"attributes.status = 'FINISHED' and tags.`{record.KIND}` = 'cell'",
            page_token=token,
        )
        found |= {one.data.tags[record.CELL] for one in page}
        token = page.token
        if not token:
            return found


def _run_cells(
    cells: Sequence[TrainCell],
    parts: Sequence[Parts],
    ids: Sequence[str],
    done: set[str],
    parent: TrackedRun,
    console: Console,
) -> list[str]:
    """Run the cells one after the other; return a line for each that failed."""
    failures: list[str] = []
    started, trained = time.monotonic(), 0
    todo = [name for name in ids if name not in done]
    shared = set.intersection(*(set(cell.overrides) for cell in cells))
    for cell, part, name in zip(cells, parts, ids, strict=True):
        if name in done:
            continue
        title = " ".join(text for text in cell.overrides if text not in shared) or part.filter.name
        begun = time.monotonic()
        try:
            score = run_cell(cell, part, parent.run_id)
        except Exception as error:
            log = _write_log(cell.config, name, error)
            failures.append(f"{title}: {_first_line(error)} (whole story in {log})")
            console.print(f"[red]failed[/red]  {escape(failures[-1])}")
        else:
            primary = cell.config.study.primary_metric
            told = f"{primary} {score[primary]:+.3f}" if primary in score else "finished"
            console.print(
                f"{trained + 1:>3}/{len(todo)}  {escape(title):<36} {told}   {time.monotonic() - begun:.0f} s"
            )
        trained += 1
        if trained == 1 and len(todo) > 1:
            left = (time.monotonic() - started) * (len(todo) - 1)
            console.print(f"        about {max(left / 60, 0.1):.1f} minutes left", style="dim")
        gc.collect()
    return failures


def _print_plan(console: Console, declaration: dict[str, Any], ids: Sequence[str], done: set[str]) -> None:
    skipped = sum(name in done for name in ids)
    seeds = ", ".join(map(str, declaration["seeds"]))
    console.print(f"\n[bold]Study {declaration['study']}[/bold]: {len(ids)} cells")
    console.print(f"  arms      {', '.join(declaration['arms'])}")
    console.print(f"  seeds     {seeds}")
    console.print(f"  primary   {declaration['primary_metric']}")
    console.print(f"  finished  {skipped}, to run {len(ids) - skipped}\n")


def _print_failures(console: Console, failures: Sequence[str]) -> None:
    if failures:
        cells = "1 cell" if len(failures) == 1 else f"{len(failures)} cells"
        console.print(f"\n[red]{cells} failed[/red]; what finished is kept, and the same command runs the rest:")
        for failure in failures:
            console.print(f"  {escape(failure)}")


def _compare(config: TrainConfig, store: Store, console: Console) -> None:
    """Compare the arms; report and figures are kept as a run below the study's own, which tells the verdict."""
    from winnow.comparison import compare

    folder = config.output_dir / config.study.name / "comparison"
    comparison = compare(store.tracking_uri, config.study.name, folder)
    console.print(f"\n[bold]{escape(comparison.headline)}[/bold]")
    console.print(f"Report: {folder / 'report.html'}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _write_log(config: TrainConfig, name: str, error: Exception) -> Path:
    log = cell_folder(config, name) / "failure.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return log
