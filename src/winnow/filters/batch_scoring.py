"""Score one batch of rows with a filter's signals. :mod:`winnow.filters.scoring_engines` distributes the batches."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import WinnowError, did_you_mean
from winnow.filters.expression import Node, evaluate, iter_names
from winnow.filters.signals.signal import Signal

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ScoringStage:
    """A group of signals, which score only the rows that no earlier stage dropped.

    Attributes:
        signals: The names of the signals.
        term: The expression over signals that a row must satisfy to reach the next stage; if None, every row reaches
            the next stage.
    """

    signals: Sequence[str]
    term: Node | None = None


@dataclass(frozen=True)
class BatchScores:
    """The scores of one batch.

    Attributes:
        offset: The position of the batch's first row in the corpus.
        scores: The scores by signal; null for rows that the signal did not score.
        seconds: The time spent on scoring, by signal.
    """

    offset: int
    scores: Mapping[str, pa.Array]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class BatchScorer:
    """Scores batches stage by stage. Instances can be pickled and sent to other processes.

    Attributes:
        signals: All signals of the filter, including those with cached scores.
        stages: The stages, in order.
        keep_null: Whether a row passes a stage if the stage's term is null for that row.
        cached_signals: The names of the signals whose scores are columns of the batch; see :func:`score_column_name`.
    """

    signals: Mapping[str, Signal]
    stages: Sequence[ScoringStage]
    keep_null: bool = False
    cached_signals: Sequence[str] = field(default=())

    @property
    def scored_signals(self) -> list[str]:
        """The names of the signals that score rows in any of the stages."""
        return [name for stage in self.stages for name in stage.signals]

    @property
    def input_columns(self) -> list[str]:
        """The names of the columns that a batch must have."""
        column_names = dict.fromkeys(self.signals[name].scored_column for name in self.scored_signals)
        return [*column_names, *map(score_column_name, self.cached_signals)]

    def score_batch(self, batch: pa.Table, offset: int) -> BatchScores:
        """Score the rows of a batch.

        Args:
            batch: The rows, with :attr:`input_columns`.
            offset: The position of the batch's first row in the corpus; used to number rows in error messages.

        Raises:
            WinnowError: If a signal raises an exception or does not return one float64 per row.
        """
        scores = {name: as_array(batch[score_column_name(name)]) for name in self.cached_signals}
        seconds: dict[str, float] = {}
        remaining = np.ones(batch.num_rows, dtype=bool)
        for stage in self.stages:
            for name in stage.signals:
                signal = self.signals[name]
                values = as_array(find_scored_column(signal, batch, name))
                scores[name], seconds[name] = _score_remaining_rows(signal, name, values, remaining, offset)
            if stage.term is not None:
                remaining &= compute_keep_mask(stage.term, self.signals, scores, self.keep_null)
        return BatchScores(offset, {name: scores[name] for name in self.scored_signals}, seconds)


def score_column_name(signal: str) -> str:
    """Return the name of the column that holds a signal's cached scores."""
    return f"{signal}.score"


def compute_keep_mask(
    node: Node, signals: Mapping[str, Signal], scores: Mapping[str, pa.Array], keep_null: bool
) -> Mask:
    """Evaluate an expression over signals, given the signals' scores, and return the mask of rows to keep."""
    verdicts = {name.name: signals[name.name].keep(scores[name.name]) for name, _ in iter_names(node)}
    mask: Mask = pc.fill_null(evaluate(node, verdicts, scores), keep_null).to_numpy(zero_copy_only=False)
    return mask


def score_table(name: str, signal: Signal, table: pa.Table) -> tuple[pa.Array, float]:
    """Score all rows of a table with one signal in one call; return the scores and the elapsed seconds."""
    values = as_array(find_scored_column(signal, table, name))
    return _score_remaining_rows(signal, name, values, np.ones(len(values), dtype=bool), 0)


def find_scored_column(signal: Signal, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the column that a signal scores.

    Raises:
        WinnowError: If the table does not contain the column.
    """
    column = signal.scored_column
    if column in table.column_names:
        return table[column]
    raise WinnowError(
        f"the corpus has no column '{column}'.{did_you_mean(column, table.column_names)} Available: "
        f"{', '.join(table.column_names)}. To add a column of a source to the corpus, list it in the source's "
        "`columns` or set it as `label`.",
        key=f"signals.{name}.column",
    )


def as_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as a single array; the data is not copied if the column has a single chunk."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _score_remaining_rows(
    signal: Signal, name: str, values: pa.Array, remaining: Mask, offset: int
) -> tuple[pa.Array, float]:
    """Score the rows in a mask; return one score per row (null outside the mask) and the elapsed seconds."""
    if remaining.all():
        return _score_with_timing(signal, name, values, np.arange(offset, offset + len(values)))
    positions = np.flatnonzero(remaining)
    if not len(positions):
        return pa.nulls(len(values), pa.float64()), 0.0
    scores, seconds = _score_with_timing(signal, name, values.take(pa.array(positions)), offset + positions)
    indices = np.full(len(values), -1)
    indices[positions] = np.arange(len(positions))
    return scores.take(pa.array(indices, mask=indices < 0)), seconds


def _score_with_timing(
    signal: Signal, name: str, values: pa.Array, positions: npt.NDArray[np.int64]
) -> tuple[pa.Array, float]:
    start = time.perf_counter()
    return _score_values(signal, name, values, positions), time.perf_counter() - start


def _score_values(signal: Signal, name: str, values: pa.Array, positions: npt.NDArray[np.int64]) -> pa.Array:
    """Return the scores of the values. If scoring fails, the error message includes the number of the failing row."""
    rows = f"rows {positions[0] + 1:,} to {positions[-1] + 1:,}" if len(positions) else "no rows"
    try:
        scores = signal.score_array(values)
    except WinnowError as error:
        raise error.with_prefix(f"signals.{name}") from error
    except Exception as error:
        index = _find_unscorable(signal, values)
        row = rows if index is None else f"row {positions[index] + 1:,} ({values[index].as_py()!r:.80})"
        message = (
            f"the signal raised {type(error).__name__} on {row}: {error}. Fix the signal, or exclude rows like this "
            "one from the dataset."
        )
        raise WinnowError(message, key=f"signals.{name}") from error
    if len(scores) == len(values) and scores.type == pa.float64():
        return scores
    index = _find_unscorable(signal, values)
    hint = "" if index is None else f" The first such row is {positions[index] + 1:,}: {values[index].as_py()!r:.80}."
    raise WinnowError(
        f"expected one float64 score per text, got {len(scores)} scores of type {scores.type} for {len(values)} texts "
        f"({rows}).{hint} Fix the signal's `score` method or function.",
        key=f"signals.{name}",
    )


def _find_unscorable(signal: Signal, values: pa.Array) -> int | None:
    """Score the values one at a time; return the index of the first one that fails, or None if all succeed."""
    for index in range(len(values)):
        try:
            if len(signal.score_array(values.slice(index, 1))) != 1:
                return index
        except Exception:
            return index
    return None
