"""`winnow filter`: applies a filter to a dataset as a tracked run.

The command loads the corpus, plans the scoring, computes a verdict for each row, and reports statistics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from winnow.config import ComposedCell, FilterConfig, construct
from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, Verdicts, compute_filter_statistics, save_dropped, save_kept, save_statistics
from winnow.filters.scoring_planner import ScoringPlan
from winnow.reporting import write_filter_report
from winnow.reporting.filter_progress import FilterProgressPage
from winnow.reporting.filter_report import REPORT_FILE_NAME
from winnow.run import log_run
from winnow.run.console_summaries import format_funnel, print_scoring_plan, print_verdicts
from winnow.run.corpus_loader import load_corpus
from winnow.run.run_components import check_arm_name, check_store
from winnow.tracking import Store, TrackedRun, keys, track

FILTER_EXPERIMENT: Final = "filters"
"""The MLflow experiment that contains all filter runs."""

_FLUSH_SECONDS = 1.0


def run_filter(cell: ComposedCell[FilterConfig], console: Console) -> Path:
    """Apply a filter to every row of a dataset, print a summary, and save the verdicts, the rows and a report.

    Progress is logged to the store: ``rows/failing_integrity`` is the fraction of rows that fail integrity checks, with
    the number of rows read as the step; ``rows/kept`` is the fraction of rows kept, with the number of rows filtered as
    the step.

    Returns:
        The folder that contains the results.
    """
    config = cell.config
    dataset = construct(config.dataset, "dataset", Dataset, config.allow_targets)
    selection = construct(config.filter, "filter", Filter, config.allow_targets)
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_arm_name(selection)
    check_store(store)
    title, cache = f"{dataset.name}-{selection.name}", config.output_dir / "cache"
    with track(store, store.experiment(FILTER_EXPERIMENT), title, {keys.KIND: "filter"}) as run:
        run.log_only(())
        _check_components(dataset, selection)
        log_run.log_configuration(run, cell)
        corpus = load_corpus(dataset, cache)
        log_run.log_corpus(run, corpus)
        rows = corpus.table.num_rows
        run.log_dataset(dataset.name, corpus.fingerprint, "filter", rows, {"sources": corpus.sources})
        plan = _plan_scoring(selection, corpus, cache)
        print_scoring_plan(console, plan, selection.mode == "short_circuit")
        folder = config.output_dir / "filters" / title
        verdicts = _apply_filter(run, selection, corpus, cache, folder / REPORT_FILE_NAME)
        statistics = compute_filter_statistics(verdicts, corpus)
        verdicts.save(folder)
        save_statistics(statistics, folder)
        save_kept(selection.select(corpus.split("train"), verdicts, seed=0), folder)
        save_dropped(verdicts.dropped_rows(corpus), folder)
        log_run.log_verdicts(run, verdicts, corpus, statistics)
        report = write_filter_report(verdicts, corpus, statistics, selection.signals, folder, plan)
        for file in (report, folder / "statistics.json", folder / "dropped.parquet"):
            run.log_file(file, "filter")
        run.log_folder(folder / "figures", "filter/figures")
    console.print(escape(f"{dataset.name}: {format_funnel(corpus.funnel)}"))
    for name, counts in corpus.integrity.items():
        console.print(
            escape(f"check {name}: {counts['failed']:,} of {counts['rows']:,} rows fail ({counts['action']})")
        )
    print_verdicts(console, verdicts.summary(), statistics)
    console.print(f"Verdicts, kept rows and dropped rows with their reasons: {escape(str(folder))}")
    console.print(f"Report: {escape(str(report))}")
    return folder


def _plan_scoring(selection: Filter, corpus: Corpus, cache: Path) -> ScoringPlan:
    try:
        return selection.plan(corpus, cache)
    except WinnowError as error:
        raise error.with_prefix("filter") from error


def _check_components(dataset: Dataset, selection: Filter) -> None:
    checks = {"dataset": dataset.check(), "filter": selection.check()}
    if errors := [error.with_prefix(key) for key, component_errors in checks.items() for error in component_errors]:
        raise WinnowErrors(errors)


def _apply_filter(run: TrackedRun, selection: Filter, corpus: Corpus, cache: Path, report: Path) -> Verdicts:
    """Compute the verdicts. While rows are scored, log the progress and show it on the page of the report."""
    page = FilterProgressPage(report, selection.name, selection.keep, corpus)
    log_progress = _build_progress_logger(run)

    def show_progress(rows: int, kept: int, signals: Mapping[str, Mapping[str, int]]) -> None:
        log_progress(rows, kept)
        page.update(rows, kept, signals)

    try:
        return selection.compute_verdicts(corpus, cache, on_batch=show_progress)
    except BaseException as error:
        page.stop()
        if isinstance(error, WinnowError):
            raise error.with_prefix("filter") from error
        raise


def _build_progress_logger(run: TrackedRun) -> Callable[[int, int], None]:
    """Return a callback that logs the fraction of rows kept and the rows per second, and flushes once per second."""
    start = last_flush = time.monotonic()

    def log_progress(filtered_count: int, kept_count: int) -> None:
        nonlocal last_flush
        now = time.monotonic()
        run.log_metrics(
            {"rows/kept": kept_count / filtered_count, "rows/per_second": filtered_count / max(now - start, 1e-3)},
            filtered_count,
        )
        if now - last_flush >= _FLUSH_SECONDS:
            run.flush()
            last_flush = now

    return log_progress
