"""From records, whatever they were read from, to the rows of a source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.sources.source import FAULT, LABEL, RESERVED, TEXT, Source
from winnow.errors import WinnowError, did_you_mean

_LARGEST_LABEL = 2**53  # above it a float no longer holds every whole number
_MISSING = object()
Records = Iterator[tuple[int, Mapping[str, Any] | str]]
_TYPES = {"number": pa.float64(), "string": pa.string()}


@plain_dataclass(frozen=True)
class Batch:
    """The records of one file or split.

    Attributes:
        name: The file's or split's name.
        unit: What its records are counted in.
        records: The number of each record and its values, or in words what is broken about it.
        complete: Whether every record names all columns; JSON records may leave out what they do not have.
    """

    name: str
    unit: Literal["line", "record", "row"]
    records: Records
    complete: bool = True


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class RecordSource(Source):
    """A source of records with named, perhaps nested values.

    A value is named by its path: ``answers.text`` is ``text`` inside ``answers``. A list of texts is joined. A text
    without anything but white space is null. A record whose text values are all null has a null text; otherwise the
    filled ones are joined.

    Attributes:
        text: The values that make the text, in order.
        joiner: What stands between two values, and between the texts of a list.
        label: A value that is a whole number, if there is one.
        columns: Further values to keep with each row, and whether each is a ``number`` or a ``string``.
        on_error: ``fail`` at the first broken record, or ``drop`` and count it in the corpus' funnel.
        homepage: Where a user gets the data.
        licence: Its licence.
    """

    text: Annotated[list[str], Field(min_length=1)]
    joiner: str = " "
    label: str | None = None
    columns: dict[str, Literal["number", "string"]] = Field(default_factory=dict)
    on_error: Literal["fail", "drop"] = "fail"
    homepage: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        for name in self.columns:
            if name in RESERVED:
                raise WinnowError(f"A corpus has its own column '{name}'. Rename the one in your data.", key="columns")

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Yield the records, file by file.

        Raises:
            WinnowError: A file cannot be read.
        """

    def read(self) -> pa.Table:
        """Return ``text``, where asked for ``label`` and further columns, and ``fault`` where records were dropped."""
        columns = [pa.field(name, _TYPES[kind]) for name, kind in self.columns.items()]
        schema = pa.schema([TEXT, *([LABEL] if self.label else []), *columns])
        rows: list[list[Any]] = []
        faults: dict[int, str] = {}
        for batch in self.batches():
            for number, record in self._with_columns(batch):
                try:
                    rows.append(self._row(record))
                except _BrokenError as fault:
                    message = f"Broken {batch.unit} {number:,} of {batch.name}: {fault}"
                    if self.on_error == "fail":
                        raise WinnowError(f"{message} Mend it, or set on_error=drop.", key=fault.key) from fault
                    faults[len(rows)] = message
                    rows.append([None] * len(schema))
        values = zip(*rows, strict=True) if rows else [()] * len(schema)
        table = pa.table([pa.array(one, field.type) for one, field in zip(values, schema, strict=True)], schema=schema)
        if faults:
            table = table.append_column(FAULT, pa.array([faults.get(place) for place in range(len(rows))], FAULT.type))
        return table

    def check(self) -> list[WinnowError]:
        """Return a fault for each file that cannot be opened, or for each value that its first record lacks."""
        faults: list[WinnowError] = []
        try:
            for batch in self.batches():
                first = next((record for _, record in batch.records if not isinstance(record, str)), None)
                if first is not None and batch.complete:
                    faults += [self._unknown(path, first, batch.name) for path in self._paths() if _lacks(first, path)]
        except WinnowError as fault:
            faults.append(fault)
        return faults

    def settings(self) -> dict[str, Any]:
        """Return what shapes the rows besides the records themselves."""
        return {name: getattr(self, name) for name in ("text", "joiner", "label", "columns", "on_error")}

    def _with_columns(self, batch: Batch) -> Records:
        """Pass records on; raise at once for a column that is not there, at the end for a value that none had."""
        missing, seen = self._paths(), dict[str, None]()
        for number, record in batch.records:
            if missing and not isinstance(record, str):
                seen |= dict.fromkeys(record)
                missing = [path for path in missing if value_at(record, path) is _MISSING]
                if batch.complete and any(_lacks(record, path) for path in missing):
                    missing.sort(key=lambda path: not _lacks(record, path))
                    break
            yield number, record
        if missing and seen:
            raise self._unknown(missing[0], seen, batch.name)

    def _paths(self) -> list[str]:
        return [*self.text, *([self.label] if self.label else []), *self.columns]

    def _row(self, record: Mapping[str, Any] | str) -> list[Any]:
        if isinstance(record, str):
            raise _BrokenError("path", record)
        texts = [self._text(value_at(record, path), path) for path in self.text]
        row: list[Any] = [self.joiner.join(text for text in texts if text) or None]
        if self.label:
            row.append(_whole_number(value_at(record, self.label), self.label))
        for path, kind in self.columns.items():
            value = value_at(record, path)
            row.append(_number(value, path) if kind == "number" else self._text(value, path, key="columns"))
        return row

    def _text(self, value: Any, path: str, key: str = "text") -> str | None:
        if value is None or value is _MISSING:
            return None
        if isinstance(value, list):
            return self.joiner.join(filter(None, (self._text(one, path, key) for one in value))) or None
        if not isinstance(value, str):
            raise _BrokenError(key, f"'{path}' is {value!r:.60}, a {type(value).__name__}, where a text is expected.")
        if self.on_error == "drop" and holds_foreign_bytes(value):
            raise _BrokenError(key, f"'{path}' holds bytes of another encoding.")
        return None if not value or value.isspace() else value

    def _unknown(self, path: str, known: Iterable[str], name: str) -> WinnowError:
        key = "text" if path in self.text else "label" if path == self.label else "columns"
        listed = ", ".join(f"'{column}'" for column in known)
        return WinnowError(
            f"{name} has no column '{path}'.{did_you_mean(path, known)} Its columns are {listed}.", key=key
        )


class _BrokenError(Exception):
    """What is wrong with one record, and the key that a user may want to change."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def value_at(record: Any, path: str) -> Any:
    """Return the value at a path; of a list, the values in all its elements.

    >>> value_at({"answers": {"text": ["one", "two"]}, "a.b": 1}, "answers.text")
    ['one', 'two']
    >>> value_at({"answers": [{"text": "one"}, {"text": "two"}]}, "answers.text")
    ['one', 'two']
    """
    if isinstance(record, list):
        found = [value_at(one, path) for one in record]
        return [value for value in found if value is not _MISSING]
    if not isinstance(record, Mapping):
        return _MISSING
    if path in record:
        return record[path]
    head, dot, rest = path.partition(".")
    return value_at(record[head], rest) if dot and head in record else _MISSING


def holds_foreign_bytes(text: str) -> bool:
    """Return whether a text was decoded from bytes of which some are of another encoding (``surrogateescape``)."""
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _lacks(record: Mapping[str, Any], path: str) -> bool:
    return path not in record and path.partition(".")[0] not in record


def _number(value: Any, path: str) -> float | None:
    if value is None or value is _MISSING or (isinstance(value, str) and not value.strip()):
        return None
    with suppress(ValueError, TypeError):
        return float(value)
    raise _BrokenError("columns", f"'{path}' is {value!r:.60}, where a number is expected.")


def _whole_number(value: Any, path: str) -> int | None:
    if value is None or value is _MISSING or (isinstance(value, str) and not value.strip()):
        return None
    with suppress(ValueError, TypeError):
        number = float(value)
        if number.is_integer() and abs(number) <= _LARGEST_LABEL:
            return int(number)
    raise _BrokenError("label", f"the label '{path}' is {value!r:.60}; a label is a whole number.")
