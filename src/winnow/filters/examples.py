"""Rows to look at: what a filter keeps, and what it drops for which reasons."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.data import Corpus
from winnow.filters.signals.lexical import Regex
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts

KEPT, PER_TERM, PER_LABEL, LONGEST = 8, 4, 5, 320


def examples(verdicts: Verdicts, corpus: Corpus, signals: Mapping[str, Signal]) -> dict[str, Any]:
    """Return train rows that show what a filter does, always the same ones: the first by row id, which is a hash.

    Returns:
        ``kept``: some of the kept rows. ``only``: for each term some of the rows that it alone drops, and that would
        be kept without it. ``several``: rows that most terms drop. Where the labels are 0 and 1 also ``kept_as_0`` and
        ``dropped_as_1``. Each row has its ``text``, cut where it is very long, its ``source``, its ``label`` where it
        has one, ``failed``, all the terms that it fails, and ``pieces``: the text taken apart, see :func:`pieces_of`.
    """
    rows = corpus.split("train")
    order = np.argsort(rows["row_id"].to_numpy(), kind="stable")
    passed = verdicts.passed("train")
    fails = ~np.column_stack(list(passed.values()))
    times = fails.sum(axis=1)
    kept = verdicts.kept("train")

    def some(mask: npt.NDArray[np.bool_], most: int) -> list[dict[str, Any]]:
        places = order[mask[order]][:most]
        found = rows.select([name for name in ("text", "source", "label") if name in rows.column_names])
        taken: list[dict[str, Any]] = found.take(pa.array(places)).to_pylist()
        for place, row in zip(places, taken, strict=True):
            row["text"] = row["text"] if len(row["text"]) <= LONGEST else f"{row['text'][:LONGEST]}…"
            row["pieces"] = pieces_of(row["text"], signals)
            row["failed"] = [term for term, failed in zip(passed, fails[place], strict=True) if failed]
        return taken

    shown: dict[str, Any] = {"kept": some(kept, KEPT), "only": {}, "several": []}
    for i, term in enumerate(passed):
        if alone := some(fails[:, i] & (times == 1), PER_TERM):
            shown["only"][term] = alone
    if times.max(initial=0) > 1:
        shown["several"] = some(times == times.max(), PER_TERM)
    if "label" in rows.column_names:
        labels = rows["label"].to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
        if set(np.unique(labels[~np.isnan(labels)])) <= {0.0, 1.0}:
            shown["kept_as_0"] = some(kept & (labels == 0), PER_LABEL)
            shown["dropped_as_1"] = some(~kept & (labels == 1), PER_LABEL)
    return shown


def pieces_of(text: str, signals: Mapping[str, Signal]) -> list[tuple[str, list[str]]]:
    """Take a text apart by what the signals found in it.

    >>> pieces_of("nike shoes", {"brand": Mentions(words=["nike"])})
    [('nike', ['brand']), (' shoes', [])]

    Returns:
        The pieces in order, each with the names of the ``Mentions`` and ``Regex`` signals that found it.
    """
    found: list[set[str]] = [set() for _ in text]
    for name, signal in signals.items():
        for first, last in signal.spans(text) if isinstance(signal, Mentions | Regex) else ():
            for place in range(first, last):
                found[place].add(name)
    runs = groupby(zip(text, found, strict=True), key=lambda pair: sorted(pair[1]))
    return [("".join(character for character, _ in run), names) for names, run in runs]
