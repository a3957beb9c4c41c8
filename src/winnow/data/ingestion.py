"""Read a source and return its clean, unique rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.cleaning import CleaningStep
from winnow.data.integrity import Check, run_checks
from winnow.data.sources.source import RECORD_ERROR_FIELD, SOURCE_FIELD, Source
from winnow.data.text_columns import are_blank, clean_text_column, normalize_column
from winnow.errors import WinnowError


@dataclass(frozen=True)
class CleanedRows:
    """The clean, unique rows of a source.

    Attributes:
        rows: The rows, with a ``source`` column.
        normalized_texts: The normalized text of each row, in the same order.
        funnel: The number of rows after each stage, by stage name.
        record_errors: The error message of each broken record that was dropped.
        integrity: For each check, its ``action``, the number of ``rows`` checked and the number of ``failed`` rows.
        cumulative_failures: At regular intervals, the number of rows read so far and the number of these rows that
            fail at least one check.
    """

    rows: pa.Table
    normalized_texts: list[str]
    funnel: dict[str, int]
    record_errors: list[str]
    integrity: dict[str, dict[str, Any]]
    cumulative_failures: list[list[int]]


def read_clean_rows(
    source: Source, name: str, cleaning: Sequence[CleaningStep], checks: Mapping[str, Check]
) -> CleanedRows:
    """Read a source, check and clean its rows, and drop exact duplicates.

    Args:
        source: The source.
        name: The value of the ``source`` column, unless the source is a mixture.
        cleaning: The cleaning steps, in order.
        checks: Integrity checks for the raw rows, by name.

    Raises:
        WinnowError: If the source cannot be read, if rows fail a check whose action is ``fail``, or if some rows have
            no text and ``cleaning`` does not include ``drop_null``.
    """
    rows = source.read()
    funnel = {"read": rows.num_rows}
    errors: list[str] = []
    if RECORD_ERROR_FIELD.name in rows.column_names:
        errors = pc.drop_null(rows[RECORD_ERROR_FIELD.name]).to_pylist()
        rows = rows.filter(pc.is_null(rows[RECORD_ERROR_FIELD.name])).drop_columns(RECORD_ERROR_FIELD.name)
        funnel["whole"] = rows.num_rows
    rows, integrity, cumulative_failures = run_checks(rows, checks)
    if any(check.action == "drop" for check in checks.values()):
        funnel["sound"] = rows.num_rows
    if SOURCE_FIELD.name not in rows.column_names:
        rows = rows.append_column(SOURCE_FIELD, pa.repeat(pa.scalar(name, SOURCE_FIELD.type), rows.num_rows))
    raw = rows["text"]
    funnel["with_text"] = rows.num_rows - raw.null_count - (pc.sum(are_blank(raw)).as_py() or 0)
    rows = rows.set_column(rows.column_names.index("text"), "text", clean_text_column(raw, cleaning))
    rows = _drop_null_rows(rows, cleaning)
    funnel["cleaned"] = rows.num_rows
    # Among rows with equal text, only the first is kept.
    first: dict[str, int] = {}
    for row, text in enumerate(normalize_column(rows["text"]).to_pylist()):
        first.setdefault(text, row)
    funnel["unique"] = len(first)
    if len(first) < rows.num_rows:
        rows = rows.take(pa.array(first.values(), pa.int64()))
    return CleanedRows(rows, list(first), funnel, errors, integrity, cumulative_failures)


def _drop_null_rows(rows: pa.Table, cleaning: Sequence[CleaningStep]) -> pa.Table:
    nulls = rows["text"].null_count
    if nulls and CleaningStep.DROP_NULL not in cleaning:
        # If no row has text, dropping the rows without text would empty the corpus.
        fix = (
            "Choose other text columns, or remove cleaning steps"
            if nulls == rows.num_rows
            else "Add `drop_null` to the cleaning steps, or add the missing texts"
        )
        raise WinnowError(f"{nulls:,} of {rows.num_rows:,} rows have no text after cleaning. {fix}.", key="cleaning")
    return rows.filter(pc.is_valid(rows["text"])) if nulls else rows
