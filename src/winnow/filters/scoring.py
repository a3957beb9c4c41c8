"""Scoring every row once, with what is already on disk left alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.data import Corpus
from winnow.data.cache import damaged, published
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.signals import Signal

_BATCH_ROWS = 2_000


@dataclass(frozen=True)
class Scored:
    """What a signal says of every row of a corpus, and the seconds that took when it was asked."""

    scores: pa.Array
    seconds: float


def score_signals(signals: Mapping[str, Signal], corpus: Corpus, cache_dir: Path, progress: bool) -> dict[str, Scored]:
    """Return the scores of every signal for all rows of a corpus, in corpus order.

    Scores lie in ``cache_dir/scores/<corpus fingerprint>/<signal fingerprint>.parquet``. Those that are there
    are read; the others are computed and added, so a second filter pays only for signals that no filter had
    before.

    Args:
        signals: Signals by name.
        corpus: The rows.
        cache_dir: Where scores are kept; several processes may share it.
        progress: Whether to draw a progress bar on stderr.
    """
    folder = cache_dir / "scores" / corpus.fingerprint
    paths = {name: folder / f"{signal.fingerprint()}.parquet" for name, signal in signals.items()}
    missing = {name: signal for name, signal in signals.items() if not paths[name].exists()}
    if missing:
        for name, scored in _score(missing, corpus, progress).items():
            _save(scored, signals[name], paths[name])
    return {name: _read(path) for name, path in paths.items()}


def _read(path: Path) -> Scored:
    try:
        table = pq.read_table(path)
        return Scored(table["score"].combine_chunks(), float(table.schema.metadata[b"seconds"]))
    except (OSError, ValueError, KeyError) as fault:  # Arrow's own faults are of these kinds
        raise damaged(path, fault) from fault


def _score(signals: Mapping[str, Signal], corpus: Corpus, progress: bool) -> dict[str, Scored]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    scored: dict[str, Scored] = {}
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        for name, signal in signals.items():
            task = bar.add_task(f"Scoring {name}", total=corpus.table.num_rows)
            rows = max(1, corpus.table.num_rows) if signal.whole else _BATCH_ROWS
            chunks: list[pa.Array] = []
            seconds, first = 0.0, 0
            for batch in _column(signal, corpus.table, name).to_batches(max_chunksize=rows):
                values = batch.column(0).to_pylist()
                begun = time.perf_counter()
                chunks.append(_scores(signal, values, first, name))
                seconds += time.perf_counter() - begun
                first += len(values)
                bar.advance(task, len(values))
            scored[name] = Scored(pa.chunked_array(chunks, pa.float64()).combine_chunks(), seconds)
    return scored


def _column(signal: Signal, table: pa.Table, name: str) -> pa.Table:
    column = signal.scored_column
    if column in table.column_names:
        found = table.select([column])
        return found.combine_chunks() if signal.whole else found
    raise WinnowError(
        f"The corpus has no column '{column}'.{did_you_mean(column, table.column_names)} It has "
        f"{', '.join(table.column_names)}; a source keeps more where its `columns` or `label` name them.",
        key=f"signals.{name}.column",
    )


def _scores(signal: Signal, values: list[Any], first: int, name: str) -> pa.Array:
    """Return the scores of one batch; a fault names the row that it comes from."""
    rows = f"rows {first + 1:,} to {first + len(values):,}"
    try:
        scores = signal.score(values)
    except WinnowError as fault:
        raise fault.under(f"signals.{name}") from fault
    except Exception as fault:
        place = _first_fault(signal, values)
        where = rows if place is None else f"row {first + place + 1:,} ({values[place]!r:.80})"
        told = f"The signal '{name}' raised {type(fault).__name__} on {where}: {fault}."
        raise WinnowError(told, key=f"signals.{name}") from fault
    if len(scores) == len(values) and scores.type == pa.float64():
        return scores
    place = _first_fault(signal, values)
    alone = "" if place is None else f" Row {first + place + 1:,} alone gets no single score: {values[place]!r:.80}."
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
