"""The MLflow store: made once, before any run, so that parallel processes find it ready."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Store:
    """Where runs are kept.

    Attributes:
        uri: An MLflow tracking URI, `sqlite:///FILE` for the embedded store.
        artifacts: Folder for figures, tables and models.
    """

    uri: str
    artifacts: str

    def check(self) -> list[WinnowError]:
        """Return an error where the store cannot be written."""
        faults = []
        for key, folder in (("uri", self._file.parent if self._file else None), ("artifacts", self._folder)):
            if folder is not None and (fault := _unwritable(folder)):
                faults.append(WinnowError(f"{fault} Choose another folder with output_dir=FOLDER.", key))
        return faults

    def client(self) -> MlflowClient:
        """Return a client, after making the database with its schema where there is none.

        Processes that start together on an empty file would break one another's migration, so a lock is held; WAL
        mode lets one process write while others read.
        """
        quieten()
        if self._file is None:
            return _client(self.uri)
        with self._alone():
            if not self._file.exists():
                with sqlite3.connect(self._file) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
                connection.close()
            client = _client(self.tracking_uri)
            client.search_experiments(max_results=1)  # creates the schema while the lock is held
        return client

    def experiment(self, name: str) -> str:
        """Return the id of the experiment of that name, made where there is none."""
        from mlflow.exceptions import MlflowException

        client = self.client()
        with self._alone():
            found = client.get_experiment_by_name(name)
            if found is None:
                location = (self._folder.resolve() / name).as_uri() if self._folder else f"{self.artifacts}/{name}"
                try:
                    return str(client.create_experiment(name, artifact_location=location))
                except MlflowException:  # on a server, which no lock of ours holds, another may have been faster
                    found = client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock beside an embedded database."""
        from filelock import FileLock

        if self._file is None:
            yield
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._file}.lock"):
            yield

    @property
    def tracking_uri(self) -> str:
        """The URI with an absolute path: MLflow remembers stores by URI, and a relative one depends on the folder."""
        return f"{SQLITE}{self._file.resolve()}" if self._file else self.uri

    @property
    def _folder(self) -> Path | None:
        return None if "://" in self.artifacts else Path(self.artifacts)

    @property
    def _file(self) -> Path | None:
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def quieten() -> None:
    """Keep the migration log of a new database, and MLflow's hints, off the terminal."""
    import mlflow  # noqa: F401 - it sets up its loggers when it is imported

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _unwritable(folder: Path) -> str | None:
    """Say why nothing can be written into a folder, by trying; it is made where it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"nothing can be written to {str(folder)!r} ({error.strerror})."
