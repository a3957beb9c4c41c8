"""`winnow filter` as a tracked run; read it from top to bottom.

corpus -> plan -> verdicts -> statistics -> report
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from winnow.config import Cell, FilterConfig, construct
from winnow.data import Corpus, Dataset
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import Filter, Verdicts, compute_filter_statistics, save_dropped, save_kept, save_statistics
from winnow.reporting import write_filter_report
from winnow.run import log_run
from winnow.run.components import check_store
from winnow.run.corpora import load_corpus
from winnow.run.overview import funnel, print_plan, print_verdicts
from winnow.tracking import Store, TrackedRun, keys, track

EXPERIMENT: Final = "filters"
"""The MLflow experiment of all filter runs."""

_FLUSH_SECONDS = 1.0


def run_filter(cell: Cell[FilterConfig], console: Console) -> Path:
    """Judge every row of a dataset by a filter, print what it did, and write verdicts, rows and report.

    While rows are read and judged, the shares of rows that fail integrity checks (``rows/failing_integrity``, by rows
    read) and of rows that are kept (``rows/kept``, by rows judged) go to the store.

    Returns:
        The folder written to.
    """
    config = cell.config
    dataset = construct(config.dataset, "dataset", Dataset, config.allow_targets)
    selection = construct(config.filter, "filter", Filter, config.allow_targets)
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    title, cache = f"{dataset.name}-{selection.name}", config.output_dir / "cache"
    with track(store, store.experiment(EXPERIMENT), title, {keys.KIND: "filter"}) as run:
        _check(dataset, selection)
        log_run.record_configuration(run, cell)
        corpus = load_corpus(dataset, cache)
        log_run.record_corpus(run, corpus)
        rows = corpus.table.num_rows
        run.log_dataset(dataset.name, corpus.fingerprint, "filter", rows, {"sources": corpus.sources})
        plan = selection.plan(corpus, cache)
        print_plan(console, plan, selection.mode == "short_circuit")
        verdicts = _judge(run, selection, corpus, cache)
        found = compute_filter_statistics(verdicts, corpus)
        folder = config.output_dir / "filters" / title
        verdicts.save(folder)
        save_statistics(found, folder)
        save_kept(selection.select(corpus.split("train"), verdicts, seed=0), folder)
        save_dropped(verdicts.dropped_rows(corpus), folder)
        log_run.record_verdicts(run, verdicts, corpus, found)
        report = write_filter_report(verdicts, corpus, found, selection.signals, folder, plan)
        for file in (report, folder / "statistics.json", folder / "dropped.parquet"):
            run.log_file(file, "filter")
        run.log_folder(folder / "figures", "filter/figures")
    console.print(f"{dataset.name}: {funnel(corpus.funnel)}")
    for name, counts in corpus.integrity.items():
        console.print(f"check {name}: {counts['failed']:,} of {counts['rows']:,} rows fail ({counts['action']})")
    print_verdicts(console, verdicts.summary(), found)
    console.print(f"Verdicts, kept rows and dropped rows with their reasons: {folder}")
    console.print(f"Report: {report}")
    return folder


def _check(dataset: Dataset, selection: Filter) -> None:
    checks = {"dataset": dataset.check(), "filter": selection.check()}
    if faults := [fault.under(key) for key, found in checks.items() for fault in found]:
        raise WinnowErrors(faults)


def _judge(run: TrackedRun, selection: Filter, corpus: Corpus, cache: Path) -> Verdicts:
    try:
        return selection.compute_verdicts(corpus, cache, on_batch=_told_to(run))
    except WinnowError as error:
        raise error.under("filter") from error


def _told_to(run: TrackedRun) -> Callable[[int, int], None]:
    """Return what tells a run how many rows are judged and kept so far, and shows it about once a second."""
    begun = sent = time.monotonic()

    def tell(judged: int, kept: int) -> None:
        nonlocal sent
        now = time.monotonic()
        run.log_metrics({"rows/kept": kept / judged, "rows/per_second": judged / max(now - begun, 1e-3)}, judged)
        if now - sent >= _FLUSH_SECONDS:
            run.flush()
            sent = now

    return tell
