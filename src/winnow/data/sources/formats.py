"""Reading the records of one file, whatever its format; each with the number a person finds it by."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO

from winnow.data.sources.records import Batch, Records
from winnow.errors import WinnowError

FormatName = Literal["csv", "tsv", "json", "jsonl", "parquet"]

SUFFIXES: dict[str, FormatName] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

_LONGEST_CELL = 2**30  # characters; the csv module's own limit of 131,072 is shorter than some documents
_PARQUET_ROWS = 1_000  # decoded at a time


def open_batch(path: Path, kind: FormatName, encoding: str, separator: str | None, errors: str) -> Batch:
    """Return the records of a file; it is opened when the first is asked for.

    Args:
        path: The file.
        kind: Its format.
        encoding: Its encoding, where it is text.
        separator: The character between two cells, where it is no comma (CSV) or tab (TSV).
        errors: What to do with bytes of another encoding, as :func:`open` takes it.
    """
    if kind == "parquet":
        return Batch(str(path), "row", _parquet(path))
    if kind in ("csv", "tsv"):
        mark = separator or ("\t" if kind == "tsv" else ",")
        return Batch(str(path), "line", _csv(path, encoding, mark, errors))
    if kind == "jsonl":
        return Batch(str(path), "line", _json_lines(path, encoding, errors), complete=False)
    return Batch(str(path), "record", _json(path, encoding), complete=False)


def _csv(path: Path, encoding: str, separator: str, errors: str) -> Records:
    """Yield the rows that are not blank, each with the number of its first line; every cell is text."""
    previous_limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding=encoding, newline="", errors=errors) as stream:
            header: list[str] | None = None
            for line, cells in _csv_rows(stream, separator):
                if isinstance(cells, str):
                    yield line, f"{cells}. Cells are separated by '{separator}'."
                elif header is None:
                    header = _header(cells, path)
                elif len(cells) != len(header):
                    cause = f"it has {len(cells)} cells where the header has {len(header)}"
                    yield line, f"{cause}. Cells are separated by '{separator}'."
                else:
                    yield line, dict(zip(header, cells, strict=True))
    finally:
        csv.field_size_limit(previous_limit)
    if header is None:
        raise WinnowError(f"The file {path} is empty; it needs a header and rows.", key="path")


def _csv_rows(stream: TextIO, separator: str) -> Iterator[tuple[int, list[str] | str]]:
    reader = csv.reader(stream, delimiter=separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            unclosed = str(fault) == "unexpected end of data"
            last = f", so it takes in all lines up to {reader.line_num:,}" if reader.line_num > line else ""
            yield line, f"a quote in it is never closed{last}" if unclosed else str(fault)
        else:
            if cells:
                yield line, cells
        line = reader.line_num + 1


def _header(cells: list[str], path: Path) -> list[str]:
    name, times = Counter(name for name in cells if name).most_common(1)[0] if any(cells) else ("", 1)
    if times > 1:
        raise WinnowError(f"The file {path} has {times} columns called '{name}'. Rename all but one.", key="text")
    return cells


def _json_lines(path: Path, encoding: str, errors: str) -> Records:
    with path.open(encoding=encoding, errors=errors) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _record(line)


def _json(path: Path, encoding: str) -> Records:
    """Yield the objects of a list, which may also be the only list inside an object (``{"data": [...]}``)."""
    try:
        content = json.loads(path.read_text(encoding))
    except json.JSONDecodeError as fault:
        raise WinnowError(
            f"The file {path} is no JSON: {fault.msg} on line {fault.lineno}. Mend it.", key="path"
        ) from fault
    if isinstance(content, Mapping):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise WinnowError(
            f"The file {path} holds no list of records. It may hold a list, or an object with one list in it; for one "
            "record a line set format=jsonl.",
            key="path",
        )
    for number, record in enumerate(content, start=1):
        yield number, record if isinstance(record, Mapping) else f"it is {record!r:.40}, not an object."


def _record(line: str) -> Mapping[str, Any] | str:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as fault:
        return f"it is no JSON ({fault.msg} at character {fault.pos + 1})."
    return record if isinstance(record, Mapping) else f"it is {record!r:.40}, not an object."


def _parquet(path: Path) -> Records:
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PARQUET_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (OSError, ValueError) as fault:  # Arrow's own faults are of these kinds
        if isinstance(fault, FileNotFoundError):
            raise
        raise WinnowError(
            f"The file {path} is no whole Parquet file (after {number:,} rows: {fault}). Get it again.", key="path"
        ) from fault
