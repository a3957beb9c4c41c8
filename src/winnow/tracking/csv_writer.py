"""Track runs without MLflow: each run is a folder of CSV files and artifacts."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError
from winnow.tracking.offline.request_timeouts import Response
from winnow.tracking.offline.run_operations import Operation
from winnow.untrusted_text import neutralize_row

if TYPE_CHECKING:
    from mlflow import MlflowClient

CSV_COLUMN_NAMES = {
    "metrics.csv": ("time", "step", "metric", "value"),
    "params.csv": ("param", "value"),
    "tags.csv": ("tag", "value"),
    "datasets.csv": ("context", "name", "digest", "profile", "source"),
}
"""The column names of each CSV file, by file name."""


class CsvWriter:
    """Writes a run to a folder: ``metrics.csv``, ``params.csv``, ``tags.csv``, ``datasets.csv``, ``artifacts``.

    Times are in UTC. Each change to a tag appends a line. The tag ``status`` holds the run's status.
    """

    def __init__(self, folder: Path) -> None:
        self.run_id = folder.name
        self._folder = folder
        folder.mkdir(parents=True)

    @property
    def client(self) -> MlflowClient:
        """Raise `WinnowError`, because there is no MLflow store."""
        raise store_required_error()

    def request(self, call: Callable[[], Response]) -> Response:
        """Call a function without a timeout, and return its result."""
        return call()

    def write(self, operation: Operation) -> None:
        """Write an operation: append lines to a CSV file, or copy an artifact."""
        match operation["do"]:
            case "metrics":
                rows = ((_format_time(time), step, name, value) for name, value, time, step in operation["values"])
                self._append_rows("metrics.csv", rows)
            case "params":
                self._append_rows("params.csv", operation["params"].items())
            case "tags":
                self._append_rows("tags.csv", operation["tags"].items())
            case "datasets":
                column_names = CSV_COLUMN_NAMES["datasets.csv"]
                self._append_rows(
                    "datasets.csv", ([dataset[column] for column in column_names] for dataset in operation["datasets"])
                )
            case "artifact":
                self._copy(Path(operation["file"]), self._folder / "artifacts" / (operation["folder"] or ""))
            case "end":
                self._append_rows(
                    "tags.csv", [("status", operation["status"]), ("ended", _format_time(operation["time"]))]
                )
            case unknown:
                raise AssertionError(f"unknown operation: {unknown}")

    def send_spooled(self) -> bool:
        """Return `True`, because operations are never spooled."""
        return True

    def _append_rows(self, name: str, rows: Iterable[Sequence[Any]]) -> None:
        path = self._folder / name
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(map(neutralize_row, [CSV_COLUMN_NAMES[name], *rows] if is_new else rows))

    def _copy(self, source: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder)


def store_required_error() -> WinnowError:
    """Return the error for a command that needs an MLflow store."""
    return WinnowError(
        "expected an MLflow store, got CSV files (tracking=none). Studies, comparisons and the MLflow UI need a store. "
        "Use tracking=sqlite, which needs no server.",
        "uri",
    )


def _format_time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
