from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa

from winnow.filters import save_kept


def test_kept_rows_are_written_as_csv_and_as_json(tmp_path: Path) -> None:
    rows = [
        {"row_id": "00", "text": 'He said "go",\nthen left', "label": 1},
        {"row_id": "01", "text": "café nan", "label": None},
    ]
    save_kept(pa.Table.from_pylist(rows), tmp_path / "kept")
    assert json.loads((tmp_path / "kept" / "kept.json").read_text("utf-8")) == rows
    with (tmp_path / "kept" / "kept.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["row_id", "text", "label"],
            ["00", 'He said "go",\nthen left', "1"],
            ["01", "café nan", ""],
        ]


def test_no_rows_make_an_empty_list(tmp_path: Path) -> None:
    save_kept(pa.table({"row_id": pa.array([], pa.string())}), tmp_path)
    assert json.loads((tmp_path / "kept.json").read_text("utf-8")) == []
