"""The folder of a filter: what is written into it, and reading it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from winnow.errors import WinnowError
from winnow.filters.verdicts import Verdicts


def read_verdicts(folder: Path | str) -> Verdicts:
    """Return the verdicts that ``winnow filter`` has written into a folder.

    Their ``table`` holds a score and a verdict of every signal on every row; ``reasons()``, ``passed()``,
    ``without(signal, name)`` and ``summary()`` derive the rest.

    Raises:
        WinnowError: There are none, or they are damaged.
    """
    return Verdicts.load(Path(folder))


def read_statistics(folder: Path | str) -> dict[str, Any]:
    """Return what these verdicts tell, as :func:`winnow.filters.filter_statistics` describes it.

    Raises:
        WinnowError: There is no ``statistics.json``, or it is damaged.
    """
    path = Path(folder) / "statistics.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        told = f"{path} cannot be read ({fault}). Give a folder that winnow filter has written."
        raise WinnowError(told, key="folder") from fault
    return found


def save_kept(table: pa.Table, folder: Path) -> None:
    """Write the kept rows as ``kept.csv`` and as ``kept.json``, a list of records with the same columns."""
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(table, folder / "kept.csv")
    with (folder / "kept.json").open("w", encoding="utf-8") as stream:
        stream.write("[")
        for place, row in enumerate(table.to_pylist()):
            stream.write(",\n " if place else "\n ")
            stream.write(json.dumps(row, ensure_ascii=False))
        stream.write("\n]\n")


def save_dropped(table: pa.Table, folder: Path) -> None:
    """Write the dropped rows, each with its text and all its reasons, as ``dropped.parquet``."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / "dropped.parquet")


def save_statistics(found: dict[str, Any], folder: Path) -> None:
    """Write what a filter's signals and terms are worth as ``statistics.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "statistics.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
