"""Scoring every row once, with what is already on disk left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.data import Corpus
from winnow.data.cache import damaged, published
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.signals import Signal

if TYPE_CHECKING:
    from rich.progress import Progress

Places = npt.NDArray[np.int64]
Watch = Callable[[int, Mapping[str, pa.Array]], None]
"""Is told the place of a batch's first row, and the scores that each signal gives to the batch."""

_BATCH_ROWS = 2_000


@dataclass(frozen=True)
class Scored:
    """What a signal says of every row of a corpus, and the seconds that took when it was asked."""

    scores: pa.Array
    seconds: float


def score_signals(
    signals: Mapping[str, Signal], corpus: Corpus, cache_dir: Path, progress: bool, watch: Watch | None = None
) -> dict[str, Scored]:
    """Return the scores of every signal for all rows of a corpus, in corpus order.

    Scores lie in ``cache_dir/scores/<corpus fingerprint>/<signal fingerprint>.parquet``. Those that are there
    are read; the others are computed and added, so a second filter pays only for signals that no filter had
    before. Rows are taken batch by batch, each by all signals, so that what is known of a batch is known at once; only
    signals that compare rows see all of them first.

    Args:
        signals: Signals by name.
        corpus: The rows.
        cache_dir: Where scores are kept; several processes may share it.
        progress: Whether to draw a progress bar on stderr.
        watch: Called after each batch.
    """
    found = cached_scores(signals, corpus, cache_dir)
    fresh = {name: signal for name, signal in signals.items() if name not in found}
    with progress_bar(progress and bool(fresh)) as bar:
        for name, signal in fresh.items():
            if signal.whole:
                found[name] = score_rows(name, signal, corpus.table, None, bar)
        rest = {name: signal for name, signal in fresh.items() if not signal.whole}
        found |= _by_batches(rest, found, corpus.table, bar, watch)
    for name, signal in fresh.items():
        _save(found[name], signal, _path(signal, corpus, cache_dir))
    return {name: found[name] for name in signals}


def _by_batches(
    signals: Mapping[str, Signal], known: Mapping[str, Scored], table: pa.Table, bar: Progress, watch: Watch | None
) -> dict[str, Scored]:
    columns = {name: _column(signal, table, name) for name, signal in signals.items()}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in signals}
    seconds = dict.fromkeys(signals, 0.0)
    task = bar.add_task("Scoring rows", total=table.num_rows) if signals else None
    for first in range(0, table.num_rows, _BATCH_ROWS) if signals or watch else ():
        places = np.arange(first, min(first + _BATCH_ROWS, table.num_rows))
        values: dict[str, list[Any]] = {}  # signals that score the same column share it
        for name, signal in signals.items():
            column = signal.scored_column
            if column not in values:
                values[column] = columns[name].slice(first, len(places)).to_pylist()
            begun = time.perf_counter()
            chunks[name].append(_scores(signal, values[column], places, name))
            seconds[name] += time.perf_counter() - begun
        if task is not None:
            bar.advance(task, len(places))
        if watch:
            old = {name: one.scores.slice(first, len(places)) for name, one in known.items()}
            watch(first, old | {name: chunks[name][-1] for name in signals})
    return {name: Scored(_joined(chunks[name]), seconds[name]) for name in signals}


def _joined(chunks: list[pa.Array]) -> pa.Array:
    return pa.chunked_array(chunks, pa.float64()).combine_chunks()


def cached_scores(signals: Mapping[str, Signal], corpus: Corpus, cache_dir: Path) -> dict[str, Scored]:
    """Return the scores that are on disk already."""
    paths = {name: _path(signal, corpus, cache_dir) for name, signal in signals.items()}
    return {name: _read(path) for name, path in paths.items() if path.exists()}


def score_rows(
    name: str, signal: Signal, table: pa.Table, places: Places | None = None, bar: Progress | None = None
) -> Scored:
    """Return the scores of one signal for the rows of a table, or for those at some places, in order.

    Args:
        name: What the filter calls the signal.
        signal: The signal. One that compares rows is asked about all, whatever the places.
        table: The rows of a corpus.
        places: The rows that are of interest; null for all.
        bar: Where to tell the progress.

    Raises:
        WinnowError: The signal fails or gives something else than one float64 for each row.
    """
    column = _column(signal, table, name)
    some = None if signal.whole else places
    asked = np.arange(table.num_rows) if some is None else some
    step = max(1, table.num_rows) if signal.whole else _BATCH_ROWS
    task = bar.add_task(f"Scoring {name}", total=len(asked)) if bar else None
    chunks: list[pa.Array] = []
    seconds = 0.0
    for first in range(0, len(asked), step):
        batch = asked[first : first + step]
        values = (column.slice(first, len(batch)) if some is None else column.take(pa.array(batch))).to_pylist()
        begun = time.perf_counter()
        chunks.append(_scores(signal, values, batch, name))
        seconds += time.perf_counter() - begun
        if bar and task is not None:
            bar.advance(task, len(batch))
    scores = _joined(chunks)
    if signal.whole and places is not None:
        scores = scores.take(pa.array(places))
    return Scored(scores, seconds)


def spread(scored: Scored, places: Places, rows: int) -> Scored:
    """Return scores of some rows as a column for all; the others are null."""
    where = np.full(rows, -1)
    where[places] = np.arange(len(places))
    return Scored(scored.scores.take(pa.array(where, mask=where < 0)), scored.seconds)


def _path(signal: Signal, corpus: Corpus, cache_dir: Path) -> Path:
    return cache_dir / "scores" / corpus.fingerprint / f"{signal.fingerprint()}.parquet"


def progress_bar(progress: bool) -> Progress:
    """Return a bar on stderr, with one line for each signal; a silent one unless ``progress``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not progress)


def _read(path: Path) -> Scored:
    try:
        table = pq.read_table(path)
        return Scored(table["score"].combine_chunks(), float(table.schema.metadata[b"seconds"]))
    except (OSError, ValueError, KeyError) as fault:  # Arrow's own faults are of these kinds
        raise damaged(path, fault) from fault


def _column(signal: Signal, table: pa.Table, name: str) -> pa.ChunkedArray:
    column = signal.scored_column
    if column in table.column_names:
        return table[column]
    raise WinnowError(
        f"The corpus has no column '{column}'.{did_you_mean(column, table.column_names)} It has "
        f"{', '.join(table.column_names)}; a source keeps more where its `columns` or `label` name them.",
        key=f"signals.{name}.column",
    )


def _scores(signal: Signal, values: list[Any], places: Places, name: str) -> pa.Array:
    """Return the scores of one batch; a fault names the row that it comes from."""
    rows = f"rows {places[0] + 1:,} to {places[-1] + 1:,}"
    try:
        scores = signal.score(values)
    except WinnowError as fault:
        raise fault.under(f"signals.{name}") from fault
    except Exception as fault:
        place = _first_fault(signal, values)
        where = rows if place is None else f"row {places[place] + 1:,} ({values[place]!r:.80})"
        told = f"The signal '{name}' raised {type(fault).__name__} on {where}: {fault}."
        raise WinnowError(told, key=f"signals.{name}") from fault
    if len(scores) == len(values) and scores.type == pa.float64():
        return scores
    place = _first_fault(signal, values)
    alone = "" if place is None else f" Row {places[place] + 1:,} alone gets no single score: {values[place]!r:.80}."
    raise WinnowError(
        f"The signal '{name}' gave {len(scores)} scores of type {scores.type} for {len(values)} texts ({rows}); "
        f"it must give one float64 for each.{alone}",
        key=f"signals.{name}",
    )


def _first_fault(signal: Signal, values: list[Any]) -> int | None:
    """Return the place of the first value that cannot be scored by itself."""
    for place, value in enumerate(values):
        try:
            if len(signal.score([value])) != 1:
                return place
        except Exception:
            return place
    return None


def _save(scored: Scored, signal: Signal, path: Path) -> None:
    facts: dict[str, Any] = {"signal": type(signal).__name__, "version": signal.version, **signal.settings()}
    metadata = {"signal": json.dumps(facts), "seconds": repr(scored.seconds)}
    schema = pa.schema([pa.field("score", pa.float64())], metadata=metadata)
    with published(path) as draft:
        pq.write_table(pa.table([scored.scores], schema=schema), draft)
