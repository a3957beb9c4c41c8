"""A run without MLflow: a folder of CSV files, and the artifacts as they are."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError
from winnow.tracking.offline.operations import Operation
from winnow.tracking.offline.timeouts import Response

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLUMNS = {
    "metrics.csv": ("time", "step", "metric", "value"),
    "params.csv": ("param", "value"),
    "tags.csv": ("tag", "value"),
    "datasets.csv": ("context", "name", "digest", "profile", "source"),
}


class CsvWriter:
    """Writes a run to a folder: ``metrics.csv``, ``params.csv``, ``tags.csv``, ``datasets.csv``, ``artifacts``.

    Times are in UTC. A tag that is set again stands in a later line; the run's status is the tag ``status``.
    """

    def __init__(self, folder: Path) -> None:
        self.run_id = folder.name
        self._folder = folder
        folder.mkdir(parents=True)

    @property
    def client(self) -> MlflowClient:
        """There is none."""
        raise store_required_error()

    def request(self, call: Callable[[], Response]) -> Response:
        """There is no store to wait for."""
        return call()

    def write(self, operation: Operation) -> None:
        """Add lines to a file, or an artifact to the folder."""
        match operation["do"]:
            case "metrics":
                self._add(
                    "metrics.csv", ((_day(at), step, name, value) for name, value, at, step in operation["values"])
                )
            case "params":
                self._add("params.csv", operation["params"].items())
            case "tags":
                self._add("tags.csv", operation["tags"].items())
            case "datasets":
                columns = COLUMNS["datasets.csv"]
                self._add("datasets.csv", ([told[column] for column in columns] for told in operation["datasets"]))
            case "artifact":
                self._copy(Path(operation["file"]), self._folder / "artifacts" / (operation["folder"] or ""))
            case "end":
                self._add("tags.csv", [("status", operation["status"]), ("ended", _day(operation["time"]))])
            case other:
                raise AssertionError(f"no such operation: {other}")

    def send_spooled(self) -> bool:
        """Nothing ever waits."""
        return True

    def _add(self, name: str, lines: Iterable[Sequence[Any]]) -> None:
        path = self._folder / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS[name], *lines] if new else lines)

    def _copy(self, source: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder)


def store_required_error() -> WinnowError:
    """Return the error for what cannot be done without a store."""
    return WinnowError(
        "tracking=none keeps CSV files only, so that runs cannot be looked up: no study, no comparison, no pages. "
        "Choose tracking=sqlite, which needs no server.",
        "uri",
    )


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
