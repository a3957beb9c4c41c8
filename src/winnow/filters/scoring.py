"""Scoring every row once, with what is already on disk left alone."""

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
from winnow.data.cache import damaged, intact, published
from winnow.filters.batch_scoring import Answer, Questions, Turn, column_of, known_as, score_column
from winnow.filters.engines import BATCH_ROWS, EngineName, ask_rows
from winnow.filters.signals.signal import Signal

if TYPE_CHECKING:
    from rich.progress import Progress

Watch = Callable[[int, Mapping[str, pa.Array]], None]
"""Is told the place of a batch's first row, and the scores that each signal gives to the batch."""


_SCORES = "scores.parquet"

_KEPT_BATCHES = 32  # rows of a memory-mapped corpus stay in memory for so many batches


@dataclass(frozen=True)
class Engine:
    """Who scores: the name of an engine, and how many processes."""

    name: EngineName = "local"
    processes: int = 1


@dataclass(frozen=True)
class Scored:
    """What a signal says of every row of a corpus, and the seconds that took when it was asked."""

    scores: pa.Array
    seconds: float


def score_signals(
    signals: Mapping[str, Signal],
    corpus: Corpus,
    cache_dir: Path,
    progress: bool,
    watch: Watch | None = None,
    engine: Engine | None = None,
) -> dict[str, Scored]:
    """Return the scores of every signal for all rows of a corpus, in corpus order.

    Scores lie in ``cache_dir/scores/<corpus fingerprint>/<signal fingerprint>``. Those that are there
    are read; the others are computed and added, so a second filter pays only for signals that no filter had
    before. Rows are taken batch by batch, each by all signals, so that what is known of a batch is known at once; only
    signals that compare rows see all of them first.

    Args:
        signals: Signals by name.
        corpus: The rows.
        cache_dir: Where scores are kept; several processes may share it.
        progress: Whether to draw a progress bar on stderr.
        watch: Called after each batch.
        engine: Who scores; this process where it is None.
    """
    found = cached_scores(signals, corpus, cache_dir)
    fresh = {name: signal for name, signal in signals.items() if name not in found}
    with progress_bar(progress and bool(fresh)) as bar:
        found |= score_whole(fresh, corpus.table, bar)
        rest = [name for name in fresh if name not in found]
        found |= ask_all(Questions(signals, [Turn(rest)]), found, corpus, cache_dir, bar, watch, engine)
    for name, signal in fresh.items():
        _save(found[name], signal, _path(signal, corpus, cache_dir))
    return {name: found[name] for name in signals}


def score_whole(signals: Mapping[str, Signal], table: pa.Table, bar: Progress) -> dict[str, Scored]:
    """Return the scores of those signals that compare rows, so that they must see all at once."""
    found = {}
    for name, signal in signals.items():
        if signal.whole:
            task = bar.add_task(f"Scoring {name}", total=table.num_rows)
            found[name] = Scored(*score_column(name, signal, table))
            bar.advance(task, table.num_rows)
    return found


def ask_all(
    questions: Questions,
    known: Mapping[str, Scored],
    corpus: Corpus,
    cache_dir: Path,
    bar: Progress,
    watch: Watch | None = None,
    engine: Engine | None = None,
) -> dict[str, Scored]:
    """Return what the signals that are asked say of all rows of a corpus.

    Args:
        questions: What to ask.
        known: Scores of all rows that are there already; the questions may need some of them.
        corpus: The rows.
        cache_dir: Where results are kept.
        bar: Where to tell the progress.
        watch: Called after each batch.
        engine: Who scores; this process where it is None.
    """
    total = corpus.table.num_rows
    columns = {name: _Column(total) for name in questions.asked}
    seconds = dict.fromkeys(questions.asked, 0.0)
    if not columns and not watch:
        return {}
    task = bar.add_task("Judging", total=total)
    for answer in _answers(questions, known, corpus, cache_dir, engine or Engine()):
        size = min(BATCH_ROWS, total - answer.first)
        for name, scores in answer.scores.items():
            size = len(scores)
            columns[name].put(answer.first, scores)
            seconds[name] += answer.seconds[name]
        bar.advance(task, size)
        if watch:
            old = {name: one.scores.slice(answer.first, size) for name, one in known.items()}
            watch(answer.first, {**old, **answer.scores})
    return {name: Scored(column.array(), seconds[name]) for name, column in columns.items()}


class _Column:
    """A column of scores that is filled batch by batch, in place, so that it never lies in memory twice."""

    def __init__(self, rows: int) -> None:
        self._values = np.zeros(rows)
        self._valid = np.zeros(rows, dtype=bool)

    def put(self, first: int, scores: pa.Array) -> None:
        place = slice(first, first + len(scores))
        self._values[place] = pc.fill_null(scores, 0.0).to_numpy(zero_copy_only=False)
        self._valid[place] = pc.is_valid(scores).to_numpy(zero_copy_only=False)

    def array(self) -> pa.Array:
        valid = pa.array(self._valid).buffers()[1]
        return pa.Array.from_buffers(pa.float64(), len(self._values), [valid, pa.py_buffer(self._values)])


def _answers(
    questions: Questions, known: Mapping[str, Scored], corpus: Corpus, cache_dir: Path, engine: Engine
) -> Iterator[Answer]:
    rows = corpus.table
    if not questions.asked:
        yield from (Answer(first, {}, {}) for first in range(0, rows.num_rows, BATCH_ROWS))
        return
    for name in questions.asked:
        column_of(questions.signals[name], rows, name)
    for name in questions.known:
        rows = rows.append_column(known_as(name), known[name].scores)
    asked = ask_rows(questions, rows.select(questions.columns), cache_dir, engine.name, engine.processes)
    for count, answer in enumerate(asked, start=1):
        yield answer
        if count % _KEPT_BATCHES == 0:
            corpus.release()
    corpus.release()


def cached_scores(signals: Mapping[str, Signal], corpus: Corpus, cache_dir: Path) -> dict[str, Scored]:
    """Return the scores that are on disk already."""
    paths = {name: _path(signal, corpus, cache_dir) for name, signal in signals.items()}
    return {name: _read(path) for name, path in paths.items() if intact(path)}


def _path(signal: Signal, corpus: Corpus, cache_dir: Path) -> Path:
    return cache_dir / "scores" / corpus.fingerprint / signal.fingerprint()


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


def _read(folder: Path) -> Scored:
    try:
        table = pq.read_table(folder / _SCORES)
        return Scored(table["score"].combine_chunks(), float(table.schema.metadata[b"seconds"]))
    except (OSError, ValueError, KeyError) as fault:  # Arrow's own faults are of these kinds
        raise damaged(folder, fault) from fault


def _save(scored: Scored, signal: Signal, folder: Path) -> None:
    facts: dict[str, Any] = {"signal": type(signal).__name__, "version": signal.version, **signal.settings()}
    metadata = {"signal": json.dumps(facts), "seconds": repr(scored.seconds)}
    schema = pa.schema([pa.field("score", pa.float64())], metadata=metadata)
    with published(folder) as draft:
        draft.mkdir()
        pq.write_table(pa.table([scored.scores], schema=schema), draft / _SCORES)
