"""Save and load the files in the output folder of ``winnow filter``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from winnow.errors import WinnowError
from winnow.filters.verdicts import Verdicts
from winnow.untrusted_text import neutralize_formula


def read_verdicts(folder: Path | str) -> Verdicts:
    """Load the verdicts from an output folder of ``winnow filter``.

    The ``table`` attribute of the result has the score and verdict of every signal on every row. The methods
    ``reasons()``, ``pass_masks()``, ``leave_out(signal, name)`` and ``summary()`` derive their results from this table.

    Raises:
        WinnowError: If the folder does not contain verdicts, or if the verdicts are damaged.
    """
    return Verdicts.load(Path(folder))


def read_statistics(folder: Path | str) -> dict[str, Any]:
    """Load the statistics from an output folder of ``winnow filter``.

    See :func:`winnow.filters.compute_filter_statistics` for a description of the statistics.

    Raises:
        WinnowError: If the folder does not contain ``statistics.json``, or if the file is damaged.
    """
    path = Path(folder) / "statistics.json"
    try:
        statistics: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot read {path} ({error}). Pass the output folder of a `winnow filter` run."
        raise WinnowError(message, key="folder") from error
    return statistics


def save_kept(table: pa.Table, folder: Path) -> None:
    """Write the kept rows to ``kept.csv``, and as a list of records to ``kept.json``.

    In ``kept.csv``, an apostrophe is inserted before each text that a spreadsheet would interpret as a formula.
    ``kept.json`` contains the original texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(_neutralize_formulas(table), folder / "kept.csv")
    with (folder / "kept.json").open("w", encoding="utf-8") as stream:
        stream.write("[")
        for index, row in enumerate(table.to_pylist()):
            stream.write(",\n " if index else "\n ")
            stream.write(json.dumps(row, ensure_ascii=False))
        stream.write("\n]\n")


def _neutralize_formulas(table: pa.Table) -> pa.Table:
    columns = {
        neutralize_formula(name): pa.array(
            [None if text is None else neutralize_formula(text) for text in column.to_pylist()], pa.string()
        )
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns)


def save_dropped(table: pa.Table, folder: Path) -> None:
    """Write the dropped rows, with the terms that each row fails, to ``dropped.parquet``."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "dropped.parquet")


def save_statistics(statistics: dict[str, Any], folder: Path) -> None:
    """Write the statistics of a filter to ``statistics.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "statistics.json").write_text(json.dumps(statistics, indent=2, ensure_ascii=False) + "\n", "utf-8")
