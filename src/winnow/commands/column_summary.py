"""Summarize the columns of a data file, and suggest which columns contain texts, labels and groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from winnow.data import Files
from winnow.data.split import MAX_GROUP_FRACTION
from winnow.errors import WinnowError

Role = Literal["text", "label", "group", ""]

MIN_TEXT_WORDS = 3.0
MAX_LABELS = 10
MIN_ROWS_PER_LABEL = 5


@dataclass(frozen=True)
class ColumnSummary:
    """The values of a column.

    Attributes:
        name: The name of the column.
        filled: The number of rows with a value.
        distinct: The number of different values.
        largest: The number of rows with the most frequent value.
        words: The mean number of words per value.
        example: The first value.
        is_numeric: Whether all values are numbers.
    """

    name: str
    filled: int
    distinct: int
    largest: int
    words: float
    example: str
    is_numeric: bool

    @property
    def role(self) -> Role:
        """What the column probably contains; an empty string if unknown."""
        if not self.is_numeric and self.words >= MIN_TEXT_WORDS and self.distinct > self.filled / 2:
            return "text"
        if 1 < self.distinct <= MAX_LABELS and self.filled >= MIN_ROWS_PER_LABEL * self.distinct:
            return "label"
        if self.is_numeric or self.words >= MIN_TEXT_WORDS or self.largest > MAX_GROUP_FRACTION * self.filled:
            return ""
        return "group" if 0.05 * self.filled < self.distinct < 0.7 * self.filled else ""


def read_records(path: Path) -> list[Mapping[str, Any]]:
    """Return all records of a CSV, TSV, JSON, JSON Lines or Parquet file. Broken records are skipped.

    Raises:
        WinnowError: If the file cannot be read or has no records.
    """
    source = Files(path=path, text=["text"], on_error="drop")
    records = [record for batch in source.batches() for _, record in batch.records if isinstance(record, Mapping)]
    if not records:
        raise WinnowError(f"{path} has no records. Choose another file.", "FILE")
    return records


def summarize_columns(records: Sequence[Mapping[str, Any]]) -> list[ColumnSummary]:
    """Return a summary of each named column, in the order of the columns."""
    names = [name for name in dict.fromkeys(name for record in records for name in record) if name.strip()]
    return [_summarize_column(name, records) for name in names]


def _summarize_column(name: str, records: Sequence[Mapping[str, Any]]) -> ColumnSummary:
    values = [text for record in records if (text := str(record.get(name) or "").strip())]
    counts = Counter(values)
    return ColumnSummary(
        name,
        len(values),
        len(counts),
        max(counts.values(), default=0),
        mean(len(value.split()) for value in values) if values else 0.0,
        values[0] if values else "",
        bool(values) and all(_is_number(value) for value in values),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
