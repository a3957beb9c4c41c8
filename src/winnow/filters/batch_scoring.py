"""Asking signals about a batch of rows: the work that an engine gives to whoever has time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import WinnowError, did_you_mean
from winnow.filters.expression import Node, evaluate, names
from winnow.filters.signals.signal import Signal

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Turn:
    """What is asked at once about the rows that are left.

    Attributes:
        signals: The names of the signals to ask.
        term: An expression over signals that rows must meet to stay; None where all stay.
    """

    signals: Sequence[str]
    term: Node | None = None


@dataclass(frozen=True)
class Answer:
    """What was found about one batch.

    Attributes:
        first: The place of its first row.
        scores: The scores by signal, null for rows that it was not asked about.
        seconds: What asking cost, by signal.
    """

    first: int
    scores: Mapping[str, pa.Array]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Questions:
    """Signals and the turns in which they are asked; it pickles, so that other processes can ask.

    Attributes:
        signals: All signals of the filter, those whose scores are known included.
        turns: Who is asked when.
        keep_null: Whether a row stays for which a term is null.
        known: The names of the signals whose scores a batch brings, each in a column that :func:`known_as` names.
    """

    signals: Mapping[str, Signal]
    turns: Sequence[Turn]
    keep_null: bool = False
    known: Sequence[str] = field(default=())

    @property
    def asked(self) -> list[str]:
        """The names of the signals that are asked."""
        return [name for turn in self.turns for name in turn.signals]

    @property
    def columns(self) -> list[str]:
        """The columns that a batch must have."""
        scored = dict.fromkeys(self.signals[name].scored_column for name in self.asked)
        return [*scored, *map(known_as, self.known)]

    def ask(self, batch: pa.Table, first: int) -> Answer:
        """Ask about the rows of a batch.

        Args:
            batch: The rows, with :attr:`columns`.
            first: The place of its first row in the corpus, which faults are told by.

        Raises:
            WinnowError: A signal fails or gives something else than one float64 for each row.
        """
        scores = {name: array_of(batch[known_as(name)]) for name in self.known}
        seconds: dict[str, float] = {}
        left = np.ones(batch.num_rows, dtype=bool)
        for turn in self.turns:
            for name in turn.signals:
                values = array_of(column_of(self.signals[name], batch, name))
                scores[name], seconds[name] = _of_those_left(self.signals[name], name, values, left, first)
            if turn.term is not None:
                left &= settled(turn.term, self.signals, scores, self.keep_null)
        return Answer(first, {name: scores[name] for name in self.asked}, seconds)


def known_as(name: str) -> str:
    """Return the name of the column with a signal's known scores."""
    return f"{name}.score"


def settled(node: Node, signals: Mapping[str, Signal], scores: Mapping[str, pa.Array], keep_null: bool) -> Mask:
    """Return for which rows an expression over signals says keep, given scores."""
    verdicts = {name.name: signals[name.name].keep(scores[name.name]) for name, _ in names(node)}
    answer = pc.fill_null(evaluate(node, verdicts, scores), keep_null)
    mask: Mask = answer.to_numpy(zero_copy_only=False)
    return mask


def score_column(name: str, signal: Signal, table: pa.Table) -> tuple[pa.Array, float]:
    """Return the scores of one signal for all rows of a table at once, and the seconds that took."""
    values = array_of(column_of(signal, table, name))
    return _of_those_left(signal, name, values, np.ones(len(values), dtype=bool), 0)


def column_of(signal: Signal, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return the column that a signal scores.

    Raises:
        WinnowError: There is none.
    """
    column = signal.scored_column
    if column in table.column_names:
        return table[column]
    raise WinnowError(
        f"The corpus has no column '{column}'.{did_you_mean(column, table.column_names)} It has "
        f"{', '.join(table.column_names)}; a source keeps more where its `columns` or `label` name them.",
        key=f"signals.{name}.column",
    )


def array_of(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, without a copy where it is in one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _of_those_left(signal: Signal, name: str, values: pa.Array, left: Mask, first: int) -> tuple[pa.Array, float]:
    if left.all():
        return _timed(signal, name, values, np.arange(first, first + len(values)))
    places = np.flatnonzero(left)
    if not len(places):
        return pa.nulls(len(values), pa.float64()), 0.0
    scores, seconds = _timed(signal, name, values.take(pa.array(places)), first + places)
    where = np.full(len(values), -1)
    where[places] = np.arange(len(places))
    return scores.take(pa.array(where, mask=where < 0)), seconds


def _timed(signal: Signal, name: str, values: pa.Array, places: npt.NDArray[np.int64]) -> tuple[pa.Array, float]:
    begun = time.perf_counter()
    return _scores(signal, name, values, places), time.perf_counter() - begun


def _scores(signal: Signal, name: str, values: pa.Array, places: npt.NDArray[np.int64]) -> pa.Array:
    """Return the scores of some rows; a fault names the row that it comes from."""
    rows = f"rows {places[0] + 1:,} to {places[-1] + 1:,}" if len(places) else "no rows"
    try:
        scores = signal.score_array(values)
    except WinnowError as fault:
        raise fault.under(f"signals.{name}") from fault
    except Exception as fault:
        place = _first_fault(signal, values)
        where = rows if place is None else f"row {places[place] + 1:,} ({values[place].as_py()!r:.80})"
        told = f"The signal '{name}' raised {type(fault).__name__} on {where}: {fault}."
        raise WinnowError(told, key=f"signals.{name}") from fault
    if len(scores) == len(values) and scores.type == pa.float64():
        return scores
    place = _first_fault(signal, values)
    alone = (
        ""
        if place is None
        else f" Row {places[place] + 1:,} alone gets no single score: {values[place].as_py()!r:.80}."
    )
    raise WinnowError(
        f"The signal '{name}' gave {len(scores)} scores of type {scores.type} for {len(values)} texts ({rows}); "
        f"it must give one float64 for each.{alone}",
        key=f"signals.{name}",
    )


def _first_fault(signal: Signal, values: pa.Array) -> int | None:
    """Return the place of the first value that cannot be scored by itself."""
    for place in range(len(values)):
        try:
            if len(signal.score_array(values.slice(place, 1))) != 1:
                return place
        except Exception:
            return place
    return None
