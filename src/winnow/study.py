"""Many runs as one study: its declaration, its grid, what is finished already, and what failed.

A study survives its cells: one that fails stops nothing, and one that has finished is never trained again.
"""

from __future__ import annotations

import dataclasses
import gc
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError, WinnowErrors, did_you_mean
from winnow.filters import RandomMatched
from winnow.parts import Parts, cell_folder, cell_id, check_parts, check_store, construct_parts, filters_in
from winnow.pipeline import run_cell
from winnow.preparation import judge_filters
from winnow.tracking import Store, TrackedRun, record, track

TrainCell = Cell[TrainConfig]


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
    cells = _with_shared_slices(cells)
    parts = [construct_parts(cell.config) for cell in cells]
    _check_plan(cells, parts)
    store = parts[0].store
    check_store(store)
    experiment = store.experiment(study.name)
    tags = {record.KIND: "study", record.STUDY: study.name}
    with track(store, experiment, f"{study.name} (study)", tags) as parent:
        check_parts(parts)
        judge_filters(cells, parts)
        ids = [cell_id(cell, part) for cell, part in zip(cells, parts, strict=True)]
        declaration = _declare(cells, parts, ids)
        parent.log_json(declaration, record.DECLARATION)
        done = set() if study.rerun == "all" else finished_cells(parent, experiment)
        _print_plan(console, declaration, ids, done)
        failures = _run_cells(cells, parts, ids, done, parent, console)
        if study.compare and not failures and len(declaration["arms"]) > 1 and len(declaration["seeds"]) > 1:
            _compare(cells[0].config, store, parent, console)
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


def _with_shared_slices(cells: Sequence[TrainCell]) -> list[TrainCell]:
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


def _check_plan(cells: Sequence[TrainCell], parts: Sequence[Parts]) -> None:
    """Raise, before any work, all that would make the study break or its comparison say nothing."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(part.filter.name for part in parts))
    faults = []
    for part in parts:
        # Lightning's own launcher starts the whole command again in each process, and so the whole sweep.
        options = part.trainer.keywords
        if str(options.get("strategy", "auto")) != "auto" or options.get("devices") not in (None, 1, "1", "auto"):
            told = "a study trains each cell on one device. Choose trainer=cpu or trainer=gpu, or leave out -m."
            faults.append(WinnowError(told, "trainer.devices"))
        if study.compare and isinstance(part.filter, RandomMatched) and part.judge not in arms:
            told = (
                f"{part.filter.name!r} matches {part.judge!r}, which is no arm of this study ({', '.join(arms)}). "
                f"Add {part.judge} to the sweep, or write a control for your filter as the README shows."
            )
            faults.append(WinnowError(told, "filter.of"))
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


def _declare(cells: Sequence[TrainCell], parts: Sequence[Parts], ids: Sequence[str]) -> dict[str, Any]:
    """Return the protocol of the study, as it stands before the first run."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(part.filter.name for part in parts))
    controls = {part.filter.name: part.filter.of.name for part in parts if isinstance(part.filter, RandomMatched)}
    tested = [arm for arm in arms if arm != study.baseline and arm not in controls]
    under_test = next(iter(controls.values()), tested[0] if tested else None)
    filters = {part.filter.name: part.filter for part in parts}
    budgets = {cell.config.training.max_steps for cell in cells}
    return {
        "study": study.name,
        "primary_metric": study.primary_metric,
        "secondary_metrics": list(study.secondary_metrics),
        "arms": arms,
        "baseline": study.baseline,
        "filter": under_test,
        "control": next(iter(controls), None),
        "seeds": sorted({cell.config.seed for cell in cells}),
        "max_steps": budgets.pop() if len(budgets) == 1 else None,
        "filter_words": sorted(filters[under_test].words()) if under_test in filters else [],
        "probe_words": sorted({word for probe in parts[0].probes.values() for word in probe.words()}),
        "cells": list(ids),
    }


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


def _compare(config: TrainConfig, store: Store, parent: TrackedRun, console: Console) -> None:
    """Compare the arms, and keep report and figures with the study's own run."""
    from winnow.comparison import compare

    folder = config.output_dir / config.study.name / "comparison"
    comparison = compare(store.tracking_uri, config.study.name, folder)
    parent.log_folder(folder, "comparison")
    parent.set_tags({"mlflow.note.content": comparison.headline})
    console.print(f"\n[bold]{escape(comparison.headline)}[/bold]")
    console.print(f"Report: {folder / 'report.html'}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _write_log(config: TrainConfig, name: str, error: Exception) -> Path:
    log = cell_folder(config, name) / "failure.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return log
