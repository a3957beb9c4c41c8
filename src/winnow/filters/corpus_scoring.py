"""Score every row of a corpus, and reuse cached scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.data import Corpus
from winnow.data.cache import is_intact, publish_folder, unreadable_cache_error
from winnow.filters.batch_scoring import (
    BatchScorer,
    BatchScores,
    ScoringStage,
    find_scored_column,
    score_column_name,
    score_table,
)
from winnow.filters.scoring_engines import BATCH_ROWS, EngineName, score_rows
from winnow.filters.signals.signal import Signal

if TYPE_CHECKING:
    from rich.progress import Progress

BatchCallback = Callable[[int, Mapping[str, pa.Array]], None]
"""A callback that takes the position of a batch's first row and the batch's scores by signal."""

_SCORES_FILE = "scores.parquet"

_BATCHES_PER_RELEASE = 32  # memory-mapped rows are released after this number of batches


@dataclass(frozen=True)
class EngineOptions:
    """The name of the scoring engine and the number of processes."""

    name: EngineName = "local"
    processes: int = 1


@dataclass(frozen=True)
class SignalScores:
    """A signal's scores for every row of a corpus, and the number of seconds spent on scoring."""

    scores: pa.Array
    seconds: float


def score_signals(
    signals: Mapping[str, Signal],
    corpus: Corpus,
    cache_dir: Path,
    progress: bool,
    on_batch: BatchCallback | None = None,
    engine: EngineOptions | None = None,
) -> dict[str, SignalScores]:
    """Return the scores of every signal for all rows of a corpus, in corpus order.

    The cache folder of a signal is ``cache_dir/scores/<corpus fingerprint>/<signal fingerprint>``. Cached scores are
    loaded, and missing scores are computed and saved, so a later filter computes the scores of new signals only. All
    signals score a batch before scoring of the next batch starts. Signals that compare rows score all rows at once,
    before the first batch.

    Args:
        signals: Signals by name.
        corpus: The rows.
        cache_dir: The cache folder; multiple processes can share it.
        progress: Whether to draw a progress bar on stderr.
        on_batch: Called after each batch.
        engine: The engine; None scores in this process.
    """
    signal_scores = load_cached_scores(signals, corpus, cache_dir)
    new_signals = {name: signal for name, signal in signals.items() if name not in signal_scores}
    with build_progress_bar(progress and bool(new_signals)) as bar:
        signal_scores |= score_cross_row_signals(new_signals, corpus.table, bar)
        remaining = [name for name in new_signals if name not in signal_scores]
        scorer = BatchScorer(signals, [ScoringStage(remaining)])
        signal_scores |= score_in_batches(scorer, signal_scores, corpus, cache_dir, bar, on_batch, engine)
    for name, signal in new_signals.items():
        _save_scores(signal_scores[name], signal, _score_path(signal, corpus, cache_dir))
    return {name: signal_scores[name] for name in signals}


def score_cross_row_signals(signals: Mapping[str, Signal], table: pa.Table, bar: Progress) -> dict[str, SignalScores]:
    """Score all rows at once with each signal that compares rows, and return these signals' scores."""
    signal_scores = {}
    for name, signal in signals.items():
        if signal.needs_all_rows:
            task = bar.add_task(f"Scoring {name}", total=table.num_rows)
            signal_scores[name] = SignalScores(*score_table(name, signal, table))
            bar.advance(task, table.num_rows)
    return signal_scores


def score_in_batches(
    scorer: BatchScorer,
    cached_scores: Mapping[str, SignalScores],
    corpus: Corpus,
    cache_dir: Path,
    bar: Progress,
    on_batch: BatchCallback | None = None,
    engine: EngineOptions | None = None,
) -> dict[str, SignalScores]:
    """Score all rows of a corpus batch by batch.

    Args:
        scorer: The scorer to apply to each batch.
        cached_scores: The scores already available for all rows, by signal; the scorer may need some of these scores.
        corpus: The rows.
        cache_dir: The cache folder.
        bar: The progress bar to advance.
        on_batch: Called after each batch with the batch's scores, including cached scores.
        engine: The engine; None scores in this process.

    Returns:
        The new scores, by signal.
    """
    total = corpus.table.num_rows
    buffers = {name: _ScoreBuffer(total) for name in scorer.scored_signals}
    seconds = dict.fromkeys(scorer.scored_signals, 0.0)
    if not buffers and not on_batch:
        return {}
    task = bar.add_task("Filtering", total=total)
    for batch in _score_batches(scorer, cached_scores, corpus, cache_dir, engine or EngineOptions()):
        size = min(BATCH_ROWS, total - batch.offset)
        for name, scores in batch.scores.items():
            size = len(scores)
            buffers[name].write(batch.offset, scores)
            seconds[name] += batch.seconds[name]
        bar.advance(task, size)
        if on_batch:
            batch_scores = {name: column.scores.slice(batch.offset, size) for name, column in cached_scores.items()}
            on_batch(batch.offset, {**batch_scores, **batch.scores})
    return {name: SignalScores(buffer.to_array(), seconds[name]) for name, buffer in buffers.items()}


class _ScoreBuffer:
    """A preallocated column of scores. Batches are written in place, so only one copy of the scores is in memory."""

    def __init__(self, rows: int) -> None:
        self._values = np.zeros(rows)
        self._valid = np.zeros(rows, dtype=bool)

    def write(self, offset: int, scores: pa.Array) -> None:
        rows = slice(offset, offset + len(scores))
        self._values[rows] = pc.fill_null(scores, 0.0).to_numpy(zero_copy_only=False)
        self._valid[rows] = pc.is_valid(scores).to_numpy(zero_copy_only=False)

    def to_array(self) -> pa.Array:
        valid = pa.array(self._valid).buffers()[1]
        return pa.Array.from_buffers(pa.float64(), len(self._values), [valid, pa.py_buffer(self._values)])


def _score_batches(
    scorer: BatchScorer,
    cached_scores: Mapping[str, SignalScores],
    corpus: Corpus,
    cache_dir: Path,
    engine: EngineOptions,
) -> Iterator[BatchScores]:
    """Yield the scores of each batch; if all signals are cached, yield batches without scores."""
    rows = corpus.table
    if not scorer.scored_signals:
        yield from (BatchScores(offset, {}, {}) for offset in range(0, rows.num_rows, BATCH_ROWS))
        return
    for name in scorer.scored_signals:
        find_scored_column(
            scorer.signals[name], rows, name
        )  # raises an error for a missing column before scoring starts
    for name in scorer.cached_signals:
        rows = rows.append_column(score_column_name(name), cached_scores[name].scores)
    batches = score_rows(scorer, rows.select(scorer.input_columns), cache_dir, engine.name, engine.processes)
    for count, batch in enumerate(batches, start=1):
        yield batch
        if count % _BATCHES_PER_RELEASE == 0:
            corpus.release()
    corpus.release()


def load_cached_scores(signals: Mapping[str, Signal], corpus: Corpus, cache_dir: Path) -> dict[str, SignalScores]:
    """Load the cached scores; signals without cached scores are omitted."""
    paths = {name: _score_path(signal, corpus, cache_dir) for name, signal in signals.items()}
    return {name: _read_scores(path) for name, path in paths.items() if is_intact(path)}


def _score_path(signal: Signal, corpus: Corpus, cache_dir: Path) -> Path:
    return cache_dir / "scores" / corpus.fingerprint / signal.fingerprint()


def build_progress_bar(progress: bool) -> Progress:
    """Return a progress bar on stderr with one line per task; the bar is disabled if ``progress`` is false."""
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


def _read_scores(folder: Path) -> SignalScores:
    try:
        table = pq.read_table(folder / _SCORES_FILE)
        return SignalScores(table["score"].combine_chunks(), float(table.schema.metadata[b"seconds"]))
    except (OSError, ValueError, KeyError) as error:  # includes Arrow's exceptions
        raise unreadable_cache_error(folder, error) from error


def _save_scores(signal_scores: SignalScores, signal: Signal, folder: Path) -> None:
    description: dict[str, Any] = {"signal": signal.identity, "version": signal.version, **signal.settings()}
    metadata = {"signal": json.dumps(description), "seconds": repr(signal_scores.seconds)}
    schema = pa.schema([pa.field("score", pa.float64())], metadata=metadata)
    with publish_folder(folder) as draft:
        draft.mkdir()
        pq.write_table(pa.table([signal_scores.scores], schema=schema), draft / _SCORES_FILE)
