"""Read numbered records from files in the supported formats."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from winnow.data.sources.records import NumberedRecords, RecordBatch
from winnow.errors import WinnowError

if TYPE_CHECKING:
    import pyarrow as pa

FormatName = Literal["csv", "tsv", "json", "jsonl", "parquet"]

FORMATS_BY_SUFFIX: dict[str, FormatName] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

_MAX_CELL_CHARACTERS = 2**30  # some documents exceed the csv module's default limit of 131,072
_PARQUET_BATCH_ROWS = 1_000  # the number of rows decoded at a time


def open_record_batch(path: Path, kind: FormatName, encoding: str, separator: str | None, errors: str) -> RecordBatch:
    """Return the records of a file. The file is opened when the first record is read.

    Args:
        path: The path of the file.
        kind: The format of the file.
        encoding: The encoding of the file; not used for Parquet.
        separator: The delimiter between cells; None uses a comma for CSV and a tab for TSV.
        errors: How to handle decoding errors, as in :func:`open`.
    """
    if kind == "parquet":
        return RecordBatch(str(path), "row", _read_parquet(path), read_table=partial(_read_parquet_columns, path))
    if kind in ("csv", "tsv"):
        mark = separator or ("\t" if kind == "tsv" else ",")
        return RecordBatch(str(path), "line", _read_csv(path, encoding, mark, errors))
    if kind == "jsonl":
        return RecordBatch(str(path), "line", _read_json_lines(path, encoding, errors), has_all_columns=False)
    return RecordBatch(str(path), "record", _read_json(path, encoding), has_all_columns=False)


def _read_csv(path: Path, encoding: str, separator: str, errors: str) -> NumberedRecords:
    """Yield the number of each non-blank row's first line, and the row's cells as text, by column name."""
    previous_limit = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        with path.open(encoding=encoding, newline="", errors=errors) as stream:
            header: list[str] | None = None
            for line, cells in _read_csv_rows(stream, separator):
                if isinstance(cells, str):
                    yield line, f"{cells}. Cells are separated by '{separator}'."
                elif header is None:
                    header = _check_header(cells, path)
                elif len(cells) != len(header):
                    cause = f"expected {len(header)} cells, as in the header, got {len(cells)}"
                    yield line, f"{cause}. Cells are separated by '{separator}'."
                else:
                    yield line, dict(zip(header, cells, strict=True))
    finally:
        csv.field_size_limit(previous_limit)
    if header is None:
        raise WinnowError(f"the file {path} is empty. Add a header line and rows.", key="path")


def _read_csv_rows(stream: TextIO, separator: str) -> Iterator[tuple[int, list[str] | str]]:
    reader = csv.reader(stream, delimiter=separator, strict=True)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            unclosed = str(error) == "unexpected end of data"
            last = f" (read up to line {reader.line_num:,})" if reader.line_num > line else ""
            yield line, f"a quote is not closed{last}" if unclosed else str(error)
        else:
            if cells:
                yield line, cells
        line = reader.line_num + 1


def _check_header(cells: list[str], path: Path) -> list[str]:
    name, times = Counter(name for name in cells if name).most_common(1)[0] if any(cells) else ("", 1)
    if times > 1:
        raise WinnowError(f"the file {path} has {times} columns named '{name}'. Rename all but one.", key="text")
    return cells


def _read_json_lines(path: Path, encoding: str, errors: str) -> NumberedRecords:
    with path.open(encoding=encoding, errors=errors) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _parse_json_line(line)


def _read_json(path: Path, encoding: str) -> NumberedRecords:
    """Yield the records of a JSON list, or of the only list inside a JSON object (``{"data": [...]}``)."""
    text = path.read_text(encoding)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = f" on line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        problem = f"{_describe_json_error(error)}{line}"
        raise WinnowError(f"the file {path} is not valid JSON: {problem}. Fix the file.", key="path") from error
    if isinstance(content, Mapping):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise WinnowError(
            f"the file {path} has no list of records. Allowed: a list, or an object with exactly one list. For one "
            "record per line, set format=jsonl.",
            key="path",
        )
    for number, record in enumerate(content, start=1):
        yield number, record if isinstance(record, Mapping) else f"expected an object, got {record!r:.40}."


def _parse_json_line(line: str) -> Mapping[str, Any] | str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        position = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        return f"invalid JSON ({_describe_json_error(error)}{position})."
    return record if isinstance(record, Mapping) else f"expected an object, got {record!r:.40}."


def _describe_json_error(error: ValueError | RecursionError) -> str:
    """Return the reason why JSON could not be parsed. Python limits the nesting depth and the digits of a number."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "a value is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def _read_parquet(path: Path) -> NumberedRecords:
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PARQUET_BATCH_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (OSError, ValueError, NotImplementedError) as error:  # the exceptions that Arrow raises
        if isinstance(error, FileNotFoundError):
            raise
        raise WinnowError(
            f"the Parquet file {path} is damaged (after {number:,} rows: {error}). Download it again.", key="path"
        ) from error


def _read_parquet_columns(path: Path, names: Sequence[str]) -> pa.Table | None:
    """Return columns of a Parquet file; None if one of the names does not occur exactly once in the schema."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if any(file.schema_arrow.get_field_index(name) < 0 for name in names):
            return None
        return file.read(list(dict.fromkeys(names)))
