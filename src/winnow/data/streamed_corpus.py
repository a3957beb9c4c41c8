"""Build a corpus from rows that arrive in batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.corpus import Corpus, content_fingerprint
from winnow.data.dataset import Dataset, build_split_table
from winnow.data.fingerprint import fingerprint
from winnow.data.ingestion import CleanedRows, read_clean_rows
from winnow.data.integrity import Check
from winnow.data.leakage import measure_leakage
from winnow.data.sources.source import TEXT_FIELD, Source
from winnow.errors import WinnowError


@dataclass(frozen=True)
class Rows(Source):
    """A source of rows in memory.

    Attributes:
        table: The rows, with the column ``text``.
    """

    table: pa.Table

    def read(self) -> pa.Table:
        """Return the rows."""
        return self.table

    def fingerprint(self) -> str:
        """Return a fingerprint of all columns."""
        return fingerprint("rows", self.table.to_pydict())

    def describe(self) -> dict[str, Any]:
        """Return the kind of source."""
        return {"kind": "stream"}


@dataclass(frozen=True)
class CleanedBatch:
    """The clean, new rows of a batch as a corpus table, and the counts of its raw rows."""

    table: pa.Table
    cleaned: CleanedRows


class StreamedCorpus:
    """A corpus that grows by batches of rows. Cleaning, duplicates and splits are those of a :class:`Dataset`.

    Args:
        name: The name of the dataset.
        checks: Integrity checks for the raw rows, by name.
    """

    def __init__(self, name: str, checks: Mapping[str, Check] | None = None) -> None:
        self._dataset = Dataset(name, Rows(pa.table({"text": pa.array([], pa.string())})), integrity=dict(checks or {}))
        self._tables: list[pa.Table] = []
        self._row_ids: set[str] = set()
        self._funnel: dict[str, int] = {}
        self._integrity: dict[str, dict[str, Any]] = {}
        self._failures: list[list[int]] = []

    def clean(self, rows: pa.Table) -> CleanedBatch:
        """Check and clean raw rows, and drop those whose text is already in the corpus. The corpus does not change."""
        dataset = self._dataset
        cleaned = read_clean_rows(Rows(rows), dataset.name, dataset.cleaning, dataset.integrity)
        table = build_split_table(cleaned, dataset.split.assign(cleaned.normalized_texts))
        is_new = pa.array([row_id not in self._row_ids for row_id in table["row_id"].to_pylist()], pa.bool_())
        return CleanedBatch(table.filter(is_new), cleaned)

    def append(self, batch: CleanedBatch) -> None:
        """Add the rows of a batch, and its counts of failed checks and of rows after each stage."""
        self._tables.append(batch.table)
        self._row_ids.update(batch.table["row_id"].to_pylist())
        rows_before, failed_before = self._failures[-1] if self._failures else (0, 0)
        self._failures += [
            [rows_before + rows, failed_before + failed] for rows, failed in batch.cleaned.cumulative_failures
        ]
        for stage, count in {**batch.cleaned.funnel, "unique": batch.table.num_rows}.items():
            self._funnel[stage] = self._funnel.get(stage, 0) + count
        for check, counts in batch.cleaned.integrity.items():
            total = self._integrity.setdefault(check, {**counts, "rows": 0, "failed": 0})
            total["rows"] += counts["rows"]
            total["failed"] += counts["failed"]

    @property
    def corpus(self) -> Corpus:
        """All rows that were added so far."""
        try:
            table = pa.concat_tables(self._tables, promote_options="default").combine_chunks()
        except pa.ArrowTypeError as error:
            message = f"expected each column to have the same type in all batches, got: {error}. Rename the column."
            raise WinnowError(message, key="rows") from error
        sources = [{"name": self._dataset.name, "kind": "stream"}]
        corpus = Corpus(
            table,
            content_fingerprint(table),
            dict(self._funnel),
            sources,
            integrity=self._integrity,
            cumulative_failures=self._failures,
        )
        return replace(corpus, leakage=measure_leakage(corpus))


def to_rows_table(rows: Any) -> pa.Table:
    """Return rows as a table with the column ``text``.

    Args:
        rows: Texts, dicts with the key ``text``, a pandas DataFrame or an Arrow table. A text may be None.

    Raises:
        WinnowError: If the rows have no column ``text``, or if it does not contain text.
    """
    if isinstance(rows, pa.Table):
        table = rows
    elif hasattr(rows, "columns"):
        table = pa.Table.from_pandas(rows, preserve_index=False)
    else:
        records = [row if isinstance(row, Mapping) else {"text": row} for row in rows]
        columns = dict.fromkeys(name for record in records for name in record)
        table = _build_table({name: [record.get(name) for record in records] for name in columns})
    if "text" not in table.column_names:
        raise WinnowError(
            f"expected a column `text`, got {', '.join(table.column_names) or 'no column'}. Rename a column.",
            key="rows",
        )
    if pa.types.is_large_string(table["text"].type) or pa.types.is_null(table["text"].type):
        table = table.set_column(table.column_names.index("text"), TEXT_FIELD, pc.cast(table["text"], pa.string()))
    if not pa.types.is_string(table["text"].type):
        raise WinnowError(f"expected texts, got a column of type {table['text'].type}. Convert it to str.", "rows")
    return table


def _build_table(columns: Mapping[str, list[Any]]) -> pa.Table:
    try:
        return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        message = f"expected one type of value per column, got: {error}. Convert the values to one type."
        raise WinnowError(message, key="rows") from error
