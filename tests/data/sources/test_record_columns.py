"""Tests of reading columns of Parquet files: the rows must equal those of the conversion of single records."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.data import Files
from winnow.data.sources import records
from winnow.data.sources.records import RecordBatch
from winnow.errors import WinnowError

COLUMNS = {
    "title": pa.array(["A", None, "", " ", "\x1c\u3000", "e\u0301", "B"]),
    "body": pa.array(["x", "y", None, "\t", None, "z ", ""]).dictionary_encode(),
    "large": pa.array(["x", None, "\u2028", "", "y", "y", "z"], pa.large_string()),
    "int": pa.array([1, None, -5, 2**53 + 1, 0, 7, 7]),
    "small": pa.array([1, None, 0, 1, 2, 3, 1], pa.uint8()),
    "float": pa.array([0.1, None, -0.0, 2.0, 1e300, 3.0, 4.0]),
    "float32": pa.array([0.1, None, 3.0, 2.0, 1.0, 0.0, 4.0], pa.float32()),
    "nan": pa.array([float("nan"), None, float("inf"), 2.0, 1.0, 0.0, 4.0]),
    "numbers": pa.array(["-0", "007", " ", None, "1.25", "123456789012345678901234567890", "0.1"]),
    "exponents": pa.array(["1e5", "+4", "1_0", " 12 ", "٣", "5.", ".5"]),
    "mixed": pa.array(["1", "x", None, " ", "3.0", " a ", "x"]),
    "flag": pa.array([True, None, False, True, True, False, False]),
    "group": pa.array(["g ", "g", "\x1c", None, "\u2003h", "", "h"]),
    "nested": pa.array([{"text": "a"}, None, {"text": None}, {"text": " "}, {"text": "b"}, None, {"text": "c"}]),
    "list": pa.array([["a", "b"], None, [], [" "], [None, "c"], ["d"], ["e"]]),
}
CONVERTED: list[dict[str, Any]] = [
    {"text": ["title"]},
    {"text": ["title", "body", "large"], "joiner": "\x1d"},
    {"text": ["title"], "columns": ["int", "float", "float32", "numbers", "small"]},
    {"text": ["title"], "columns": ["nan", "exponents", "mixed", "flag", "nested", "list", "title"]},
    {"text": ["title"], "columns": {"int": "number", "float": "number", "float32": "number", "numbers": "number"}},
    {"text": ["title"], "columns": {"large": "string", "body": "string"}},
    {"text": ["title"], "label": "small", "group": "group"},
    {"text": ["title"], "label": "flag", "group": "int"},
    {"text": ["title"], "label": "title"},
]
NOT_CONVERTED: list[dict[str, Any]] = [
    {"text": ["nested.text", "list"]},
    {"text": ["int"]},
    {"text": ["missing"]},
    {"text": ["title"], "label": "int"},
    {"text": ["title"], "label": "mixed"},
    {"text": ["title"], "label": "float"},
    {"text": ["title"], "label": "numbers"},
    {"text": ["title"], "columns": ["missing.x"]},
    {"text": ["title"], "group": "flag"},
    {"text": ["title"], "columns": {"nan": "number"}},
    {"text": ["title"], "columns": {"nan": "number"}, "on_error": "drop"},
    {"text": ["title"], "columns": {"exponents": "number"}},
    {"text": ["title"], "columns": {"mixed": "number"}, "on_error": "drop"},
    {"text": ["title"], "columns": {"int": "string"}},
]


class RecordFiles(Files):
    """Reads every file record by record."""

    def batches(self) -> Iterator[RecordBatch]:
        return (replace(batch, read_table=None) for batch in super().batches())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two Parquet files of several row groups, and an empty one."""
    folder = tmp_path_factory.mktemp("rows")
    table = pa.table(COLUMNS)
    for name, rows in (("a", table.slice(0, 4)), ("b", table.slice(4)), ("c", table.slice(7))):
        pq.write_table(rows, folder / f"{name}.parquet", row_group_size=2)
    return folder


def read(source: Files) -> Any:
    try:
        table = source.read()
    except WinnowError as error:
        return str(error), error.key
    return table.schema, repr(table.to_pylist())  # unlike values, representations distinguish -0.0 and NaN


@pytest.mark.parametrize("settings", CONVERTED + NOT_CONVERTED)
def test_the_rows_equal_those_of_single_records(folder: Path, settings: dict[str, Any]) -> None:
    expected = read(RecordFiles(path=folder, **settings))
    assert read(Files(path=folder, **settings)) == expected


def test_records_of_common_types_are_not_converted_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records.RecordSource, "_convert_record", None)
    for settings in CONVERTED:
        assert Files(path=folder, **settings).read().num_rows == 7


def test_invalid_unicode_and_repeated_names_are_read_record_by_record(tmp_path: Path) -> None:
    offsets, characters = pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(b"ok\xff\xfe")
    invalid = pa.StringArray.from_buffers(2, offsets, characters)
    repeated = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    for name, table in (("invalid", pa.table({"text": invalid})), ("repeated", repeated)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table, path)
        assert read(Files(path=path, text=["text"])) == read(RecordFiles(path=path, text=["text"]))
    assert "invalid.parquet is damaged" in read(Files(path=tmp_path / "invalid.parquet", text=["text"]))[0]
