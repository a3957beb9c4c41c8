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
from winnow.errors import WinnowError
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
    batches = corpus.table.select(["text"]).to_batches(max_chunksize=_BATCH_ROWS)
    chunks: dict[str, list[pa.Array]] = {name: [] for name in signals}
    seconds = dict.fromkeys(signals, 0.0)
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(f"Scoring {len(signals)} signals", total=corpus.table.num_rows)
        for batch in batches:
            texts = batch.column(0).to_pylist()
            for name, signal in signals.items():
                begun = time.perf_counter()
                chunks[name].append(_checked(signal.score(texts), len(texts), name))
                seconds[name] += time.perf_counter() - begun
            bar.advance(task, len(texts))
    return {
        name: Scored(pa.chunked_array(scores, pa.float64()).combine_chunks(), seconds[name])
        for name, scores in chunks.items()
    }


def _checked(scores: pa.Array, rows: int, name: str) -> pa.Array:
    if len(scores) != rows or scores.type != pa.float64():
        raise WinnowError(
            f"The signal '{name}' gave {len(scores)} scores of type {scores.type} for {rows} texts; "
            "it must give one float64 for each.",
            key=f"signals.{name}",
        )
    return scores


def _save(scored: Scored, signal: Signal, path: Path) -> None:
    facts: dict[str, Any] = {"signal": type(signal).__name__, "version": signal.version, **signal.settings()}
    metadata = {"signal": json.dumps(facts), "seconds": repr(scored.seconds)}
    schema = pa.schema([pa.field("score", pa.float64())], metadata=metadata)
    with published(path) as draft:
        pq.write_table(pa.table([scored.scores], schema=schema), draft)
