"""Convert records from files and Hub datasets to the rows of a source."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.sources.record_columns import (
    ColumnPart,
    concatenate_parts,
    convert_auto_parts,
    convert_group_column,
    convert_label_column,
    convert_number_column,
    convert_string_column,
    convert_text_columns,
)
from winnow.data.sources.record_values import (
    MISSING,
    BrokenRecordError,
    ColumnKind,
    build_auto_column,
    build_label_column,
    convert_label,
    convert_number,
    get_value,
    get_value_or_none,
    has_surrogates,
    is_column_missing,
)
from winnow.data.sources.source import GROUP_COLUMN, RECORD_ERROR_FIELD, RESERVED_COLUMNS, Source
from winnow.errors import WinnowError, did_you_mean

NumberedRecords = Iterator[tuple[int, Mapping[str, Any] | str]]


def _use_auto_kinds(columns: Any) -> Any:
    """Return a mapping with the type `auto` for each name if the columns are given as a list of names."""
    is_list_of_names = isinstance(columns, list) and all(isinstance(name, str) for name in columns)
    return dict.fromkeys(columns, "auto") if is_list_of_names else columns


@plain_dataclass(frozen=True)
class RecordBatch:
    """The records of one file or split.

    Attributes:
        name: The name of the file or split.
        unit: The unit that the record numbers count.
        records: Pairs of a record number and the record's values. For a broken record, an error message replaces the
            values.
        has_all_columns: Whether every record has all columns. JSON records may omit columns.
        read_table: Returns the given columns of all records as a table, or None if one of them is not a column. It is
            set if the records are stored in columns, which are then read without converting each record.
    """

    name: str
    unit: Literal["line", "record", "row"]
    records: NumberedRecords
    has_all_columns: bool = True
    read_table: Callable[[Sequence[str]], pa.Table | None] | None = None


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RecordSource(Source):
    """A source of records with named values, which may be nested.

    A value is addressed by its path: ``answers.text`` is ``text`` inside ``answers``. Lists of texts are joined. Blank
    texts count as null. A record's text consists of its non-null text values, joined in order. If all of these values
    are null, the text is null.

    Attributes:
        text: Paths of the values that are joined to form the text, in order.
        joiner: The separator between two values, and between the texts of a list.
        label: Path of a label; null if the records have no label. If all labels are integers, they are stored as
            integers, otherwise as text. Each text label defines a slice of the held-out rows.
        group: Path of a value that groups related rows, such as a product or an author; null if there is none. Unless
            ``group_by`` of the split is set, rows of a group are assigned to the same split and form a cluster.
        columns: Additional values to keep with each row: a list of paths, or a mapping from each path to its type
            (``number``, ``string``, or ``auto``, which means numbers if all values are numbers).
        on_error: ``fail`` raises an error at the first broken record; ``drop`` drops broken records and counts them in
            the funnel.
        homepage: The URL of the data.
        licence: The license of the data.
    """

    text: Annotated[list[str], Field(min_length=1)]
    joiner: str = " "
    label: str | None = None
    group: str | None = None
    columns: Annotated[dict[str, ColumnKind], BeforeValidator(_use_auto_kinds)] = Field(default_factory=dict)
    on_error: Literal["fail", "drop"] = "fail"
    homepage: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        for name in self.columns:
            if name in RESERVED_COLUMNS:
                raise WinnowError(
                    f"the column name '{name}' is reserved. Rename the column in your data.", key="columns"
                )
        if self.group is not None and GROUP_COLUMN in self.columns:
            raise WinnowError(
                f"the column name '{GROUP_COLUMN}' is reserved if group is set. Remove it from columns.", key="columns"
            )

    @property
    def has_groups(self) -> bool:
        """Whether the rows have a column with their group."""
        return self.group is not None

    @abstractmethod
    def batches(self) -> Iterator[RecordBatch]:
        """Yield one batch of records for each file or split.

        Raises:
            WinnowError: If a file cannot be read.
        """

    def read(self) -> pa.Table:
        """Return a table of the rows.

        The columns are ``text``, ``label`` and ``group`` if set, the additional columns, and ``fault`` if broken
        records are to be dropped.
        """
        names = ["text", *(["label"] if self.label else []), *([GROUP_COLUMN] if self.group else []), *self.columns]
        parts: dict[str, list[ColumnPart]] = {name: [] for name in names}
        errors: dict[int, str] = {}
        rows = 0
        for batch in self.batches():
            columns = self._convert_table(batch) or dict(
                zip(names, self._convert_records(batch, rows, errors), strict=True)
            )
            rows += len(columns["text"])
            for name, column in columns.items():
                parts[name].append(column)
        table = pa.table({name: self._build_column(name, columns) for name, columns in parts.items()})
        if errors:
            table = table.append_column(
                RECORD_ERROR_FIELD, pa.array([errors.get(row) for row in range(rows)], RECORD_ERROR_FIELD.type)
            )
        return table.combine_chunks()

    def _convert_table(self, batch: RecordBatch) -> dict[str, ColumnPart] | None:
        """Return the columns of a batch, by name; None if its records must be converted one by one."""
        if batch.read_table is None:
            return None
        try:
            table = batch.read_table(self._value_paths())
            return None if table is None else self._convert_columns(table)
        except (OSError, ValueError, NotImplementedError):  # the exceptions that Arrow raises
            return None  # the conversion of single records raises an error that names the row

    def _convert_columns(self, table: pa.Table) -> dict[str, ColumnPart] | None:
        columns: dict[str, ColumnPart | None] = {
            "text": convert_text_columns([table[path] for path in self.text], self.joiner)
        }
        if self.label:
            columns["label"] = convert_label_column(table[self.label])
        if self.group:
            columns[GROUP_COLUMN] = convert_group_column(table[self.group])
        for path, kind in self.columns.items():
            if kind == "auto":
                columns[path] = table[path]
            else:
                columns[path] = (convert_number_column if kind == "number" else convert_string_column)(table[path])
        converted = {name: column for name, column in columns.items() if column is not None}
        return converted if len(converted) == len(columns) else None

    def _convert_records(self, batch: RecordBatch, first_row: int, errors: dict[int, str]) -> list[list[Any]]:
        """Return the columns of a batch, and add the message of each broken record to ``errors`` by row number."""
        width = 1 + bool(self.label) + bool(self.group) + len(self.columns)
        rows: list[list[Any]] = []
        for number, record in self._check_columns(batch):
            try:
                rows.append(self._convert_record(record))
            except BrokenRecordError as error:
                message = f"broken {batch.unit} {number:,} of {batch.name}: {error}"
                if self.on_error == "fail":
                    # Dropping broken records is suggested only if the cause is not the configuration: if every
                    # record has the wrong type, no rows would remain.
                    fix = error.fix or "set on_error=drop"
                    raise WinnowError(f"{message} Fix the data, or {fix}.", key=error.key) from error
                errors[first_row + len(rows)] = message
                rows.append([None] * width)
        return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]

    def _build_column(self, name: str, parts: Sequence[ColumnPart]) -> pa.ChunkedArray:
        kind = "label" if name == "label" else self.columns.get(name, "string")
        if kind in ("label", "auto"):
            numbers = convert_auto_parts(parts) if kind == "auto" else None
            if numbers is not None:
                return concatenate_parts(numbers, pa.float64())
            values = [value for part in parts for value in (part if isinstance(part, list) else part.to_pylist())]
            return build_label_column(values) if kind == "label" else build_auto_column(values)
        return concatenate_parts(parts, pa.float64() if kind == "number" else pa.string())

    def check(self) -> list[WinnowError]:
        """Return an error if a file cannot be opened, and one error per column that a file's first record lacks."""
        errors: list[WinnowError] = []
        try:
            for batch in self.batches():
                first = next((record for _, record in batch.records if not isinstance(record, str)), None)
                if first is not None and batch.has_all_columns:
                    errors += [
                        self._build_unknown_column_error(path, first, batch.name)
                        for path in self._value_paths()
                        if is_column_missing(first, path)
                    ]
        except WinnowError as error:
            errors.append(error)
        return errors

    def settings(self) -> dict[str, Any]:
        """Return the settings that affect the rows."""
        settings = {name: getattr(self, name) for name in ("text", "joiner", "label", "columns", "on_error")}
        return settings | ({"group": self.group} if self.group else {})  # keeps the fingerprints of existing corpora

    def _check_columns(self, batch: RecordBatch) -> NumberedRecords:
        """Yield the records of a batch, and check that the requested values exist.

        A missing column raises an error immediately. A path that no record has raises an error after the last record.
        """
        missing, seen = self._value_paths(), dict[str, None]()
        for number, record in batch.records:
            if missing and not isinstance(record, str):
                seen |= dict.fromkeys(record)
                missing = [path for path in missing if get_value(record, path) is MISSING]
                if batch.has_all_columns and any(is_column_missing(record, path) for path in missing):
                    missing.sort(key=lambda path: not is_column_missing(record, path))
                    break
            yield number, record
        if missing and seen:
            raise self._build_unknown_column_error(missing[0], seen, batch.name)

    def _value_paths(self) -> list[str]:
        return [*self.text, *(path for path in (self.label, self.group) if path), *self.columns]

    def _convert_record(self, record: Mapping[str, Any] | str) -> list[Any]:
        if isinstance(record, str):
            raise BrokenRecordError("path", record)
        texts = [self._convert_text(get_value(record, path), path) for path in self.text]
        row: list[Any] = [self.joiner.join(text for text in texts if text) or None]
        if self.label:
            row.append(convert_label(get_value_or_none(record, self.label), self.label))
        if self.group:
            group = get_value_or_none(record, self.group)
            row.append(None if group is None else str(group).strip() or None)
        for path, kind in self.columns.items():
            value = get_value_or_none(record, path)
            if kind == "string":
                row.append(self._convert_text(value, path, key="columns"))
            else:
                row.append(convert_number(value, path) if kind == "number" else value)
        return row

    def _convert_text(self, value: Any, path: str, key: str = "text") -> str | None:
        if value is None or value is MISSING:
            return None
        if isinstance(value, list):
            return self.joiner.join(filter(None, (self._convert_text(item, path, key) for item in value))) or None
        if not isinstance(value, str):
            fix = f"set the type of '{path}' to number" if key == "columns" else "choose a column with text"
            raise BrokenRecordError(key, f"expected text in '{path}', got {value!r:.60} ({type(value).__name__}).", fix)
        if has_surrogates(value):
            raise BrokenRecordError(
                key,
                f"the value of '{path}' contains characters that are not valid Unicode, or bytes that cannot be "
                "decoded with the configured `encoding`.",
            )
        return None if not value or value.isspace() else value

    def _build_unknown_column_error(self, path: str, known: Iterable[str], name: str) -> WinnowError:
        keys = {self.label: "label", self.group: "group"}
        key = "text" if path in self.text else keys.get(path, "columns")
        columns = [f"'{column}'"[:80] for column in itertools.islice(known, 50)]
        listed = ", ".join(columns).encode(errors="backslashreplace").decode()
        return WinnowError(f"{name} has no column '{path}'.{did_you_mean(path, known)} Allowed: {listed}.", key=key)
