"""Select examples of kept and dropped rows, with each row's failed terms and the text that each signal matches."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.data import Corpus
from winnow.filters.signals.basic_signals import Regex
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts

KEPT_EXAMPLES, EXAMPLES_PER_TERM, EXAMPLES_PER_LABEL, MAX_CHARACTERS = 8, 4, 5, 320


def select_examples(verdicts: Verdicts, corpus: Corpus, signals: Mapping[str, Signal]) -> dict[str, Any]:
    """Select training rows that illustrate a filter. Rows are ordered by row id, which is a hash of the text.

    Returns:
        ``kept``: kept rows. ``only``: for each term, rows that only this term drops. ``several``: the rows that fail
        the most terms, if any row fails more than one. If the labels are 0 and 1, also ``kept_as_0`` (kept rows with
        label 0) and ``dropped_as_1`` (dropped rows with label 1 that are not among the other examples). Each row has
        its ``text`` (truncated if very long), its ``source``, its ``label`` if the corpus has labels, the terms that it
        fails (``failed``), and the ``segments`` of its text (see :func:`segment_text_by_signal`).
    """
    rows = corpus.split("train")
    order = np.argsort(rows["row_id"].to_numpy(), kind="stable")
    pass_masks = verdicts.pass_masks("train")
    fails = ~np.column_stack(list(pass_masks.values()))
    failures = fails.sum(axis=1)
    kept = verdicts.keep_mask("train")

    shown = np.zeros(len(order), dtype=bool)

    def take_first(mask: npt.NDArray[np.bool_], limit: int) -> list[dict[str, Any]]:
        indices = order[mask[order]][:limit]
        shown[indices] = True
        columns = rows.select([name for name in ("text", "source", "label") if name in rows.column_names])
        selected: list[dict[str, Any]] = columns.take(pa.array(indices)).to_pylist()
        for index, row in zip(indices, selected, strict=True):
            row["text"] = row["text"] if len(row["text"]) <= MAX_CHARACTERS else f"{row['text'][:MAX_CHARACTERS]}…"
            row["segments"] = segment_text_by_signal(row["text"], signals)
            row["failed"] = [term for term, failed in zip(pass_masks, fails[index], strict=True) if failed]
        return selected

    result: dict[str, Any] = {"kept": take_first(kept, KEPT_EXAMPLES), "only": {}, "several": []}
    for i, term in enumerate(pass_masks):
        if only := take_first(fails[:, i] & (failures == 1), EXAMPLES_PER_TERM):
            result["only"][term] = only
    if failures.max(initial=0) > 1:
        result["several"] = take_first(failures == failures.max(), EXAMPLES_PER_TERM)
    if "label" in rows.column_names and pa.types.is_integer(rows["label"].type):
        labels = rows["label"].to_pandas().to_numpy(dtype=np.float64, na_value=np.nan)
        if set(np.unique(labels[~np.isnan(labels)])) <= {0.0, 1.0}:
            result["kept_as_0"] = take_first(kept & (labels == 0), EXAMPLES_PER_LABEL)
            result["dropped_as_1"] = take_first(~kept & (labels == 1) & ~shown, EXAMPLES_PER_LABEL)
    return result


def segment_text_by_signal(text: str, signals: Mapping[str, Signal]) -> list[tuple[str, list[str]]]:
    """Split a text into segments at the boundaries of the signals' matches.

    >>> segment_text_by_signal("nike shoes", {"brand": Mentions(words=["nike"])})
    [('nike', ['brand']), (' shoes', [])]

    Returns:
        The segments in order, each with the names of the ``Mentions`` and ``Regex`` signals that match it.
    """
    matches: list[set[str]] = [set() for _ in text]
    for name, signal in signals.items():
        for start, end in signal.spans(text) if isinstance(signal, Mentions | Regex) else ():
            for index in range(start, end):
                matches[index].add(name)
    runs = groupby(zip(text, matches, strict=True), key=lambda pair: sorted(pair[1]))
    return [("".join(character for character, _ in run), names) for names, run in runs]
