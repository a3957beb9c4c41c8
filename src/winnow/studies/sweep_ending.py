"""Print the result of a sweep: the verdict and the path of the report, or the reason why there is no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from filelock import FileLock
from rich.console import Console
from rich.markup import escape

from winnow.config import TrainConfig
from winnow.errors import WinnowError
from winnow.tracking import Store


def end_sweep(
    config: TrainConfig, store: Store, declaration: Mapping[str, Any], console: Console, complete: bool
) -> None:
    """Compare the arms, write the report, and print the verdict or the reason why there is none.

    Args:
        config: The configuration of any cell.
        store: The store that contains the study.
        declaration: The declaration of the study.
        console: The console to print to.
        complete: Whether all cells have finished. If `False`, a failed comparison is only reported, not raised.
    """
    reason = explain_missing_verdict(config, declaration)
    if not config.study.compare or len(declaration["arms"]) < 2:
        console.print(f"\n[bold]No verdict[/bold]: {escape(reason or '')} No report was written.", soft_wrap=True)
        return
    folder = config.output_dir / config.study.name
    with FileLock(folder / "comparison.lock"):
        _compare_arms(config, store, console, complete, reason)


def explain_missing_verdict(config: TrainConfig, declaration: Mapping[str, Any]) -> str | None:
    """Explain why a sweep has no verdict and how to get one; return `None` if the sweep has a verdict."""
    study, arms, seeds = config.study, declaration["arms"], declaration["seeds"]
    if not study.compare:
        return "study.compare is false."
    if len(arms) < 2:
        label = declaration["arm_labels"][arms[0]]
        return f"the sweep has only the arm {label}. Add another filter, or sweep a setting of the filter."
    if study.baseline not in arms:
        return (
            f"the sweep has no arm {study.baseline} to compare with. Add {study.baseline} to filter, and run the sweep "
            "again; finished cells are not trained again."
        )
    if len(seeds) < 2:
        return f"the sweep has only the seed {seeds[0]}. Add seeds, for example with seed=1,2,3,4,5."
    return None


def _compare_arms(config: TrainConfig, store: Store, console: Console, complete: bool, reason: str | None) -> None:
    """Compare the finished cells of all arms, print the result, and log the report to a child run of the study."""
    from winnow.reporting import compare_if_changed

    folder = config.output_dir / config.study.name / "comparison"
    try:
        update = compare_if_changed(store.tracking_uri, config.study.name, folder, spool=store.spool)
    except WinnowError as error:
        if complete:
            raise
        console.print(f"\n[yellow]No comparison yet[/yellow]: {escape(error.message)}", soft_wrap=True)
        return
    if reason is None:
        headline, *sentences = update.paragraphs
        console.print(f"\n[bold]{escape(headline)}[/bold]", soft_wrap=True)
        for sentence in sentences:
            console.print(escape(sentence), soft_wrap=True)
    else:
        console.print(f"\n[bold]No verdict[/bold]: {escape(reason)}", soft_wrap=True)
    if update.details:
        console.print(update.details, markup=False, soft_wrap=True)
    study = escape(config.study.name)
    console.print(f"Runs: winnow runs {study}. Refer to a run as {study}/ARM/SEED in every command.", soft_wrap=True)
    unchanged_note = "" if update.is_new else " (nothing changed since it was written)"
    console.print(f"Report: {escape(str(update.report))}{unchanged_note}", soft_wrap=True)
