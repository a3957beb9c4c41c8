"""From a source to clean rows, each text once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.cleaning import CleaningStep, clean, normalise
from winnow.data.integrity import Check, inspect
from winnow.data.sources.source import FAULT, SOURCE, Source
from winnow.errors import WinnowError


@dataclass(frozen=True)
class Reading:
    """What was read from a source.

    Attributes:
        rows: Its rows, clean, each text once, with a ``source``.
        texts: Their normalised texts, in order.
        funnel: Rows left after each stage.
        faults: What was wrong with each broken record that was dropped.
        integrity: Of each check its ``action``, the ``rows`` it saw and how many ``failed``.
        failing: At stops along the rows as they were read, how many were read and how many of them fail any check.
    """

    rows: pa.Table
    texts: list[str]
    funnel: dict[str, int]
    faults: list[str]
    integrity: dict[str, dict[str, Any]]
    failing: list[list[int]]


def read_rows(source: Source, name: str, cleaning: Sequence[CleaningStep], checks: Mapping[str, Check]) -> Reading:
    """Read a source, check and clean its rows and drop exact duplicates.

    Args:
        source: The source.
        name: What its rows name as their source, where it is no mixture.
        cleaning: The cleaning steps, in order.
        checks: Checks of the rows as they were read, by name.

    Raises:
        WinnowError: The source cannot be read, a check fails, or rows have no text although ``drop_null`` is not
            asked for.
    """
    rows = source.read()
    funnel = {"read": rows.num_rows}
    faults: list[str] = []
    if FAULT.name in rows.column_names:
        faults = pc.drop_null(rows[FAULT.name]).to_pylist()
        rows = rows.filter(pc.is_null(rows[FAULT.name])).drop_columns(FAULT.name)
        funnel["whole"] = rows.num_rows
    rows, integrity, failing = inspect(rows, checks)
    if any(check.action == "drop" for check in checks.values()):
        funnel["sound"] = rows.num_rows
    if SOURCE.name not in rows.column_names:
        rows = rows.append_column(SOURCE, pa.array([name] * rows.num_rows, pa.string()))
    raw = rows["text"].to_pylist()
    funnel["with_text"] = sum(text is not None and not text.isspace() for text in raw)
    rows = rows.set_column(rows.column_names.index("text"), "text", pa.array(clean(raw, cleaning), pa.string()))
    rows = _without_null(rows, cleaning)
    funnel["cleaned"] = rows.num_rows
    # Insertion order makes the first row of each text the one that stays.
    first: dict[str, int] = {}
    for place, text in enumerate(rows["text"].to_pylist()):
        first.setdefault(normalise(text), place)
    funnel["unique"] = len(first)
    rows = rows.take(pa.array(first.values(), pa.int64()))
    return Reading(rows, list(first), funnel, faults, integrity, failing)


def _without_null(rows: pa.Table, cleaning: Sequence[CleaningStep]) -> pa.Table:
    nulls = rows["text"].null_count
    if nulls and CleaningStep.DROP_NULL not in cleaning:
        raise WinnowError(
            f"{nulls:,} of {rows.num_rows:,} rows have no text, or none after cleaning. "
            "Add `drop_null` to the cleaning steps, or fill the rows in.",
            key="cleaning",
        )
    return rows.filter(pc.is_valid(rows["text"])) if nulls else rows
