"""The store of runs: made once, before any run, so that parallel processes find it ready."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.metrics.metric_registry import Metric
from winnow.tracking.csv_writer import CsvWriter, store_required_error
from winnow.tracking.embedded_store import SQLITE_PREFIX, open_database
from winnow.tracking.mlflow_ui import EXPERIMENT_TAGS, VIEW_TAG, build_runs_view
from winnow.tracking.offline.run_writer import MlflowWriter, Writer
from winnow.tracking.offline.spool import RunStart, new_offline_id
from winnow.tracking.offline.timeouts import CHECK_TIMEOUT_SECONDS, REQUEST_TIMEOUT_SECONDS, call_with_timeout
from winnow.tracking.store_errors import build_store_error, is_server, redact_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

CSV = "csv:"

HTTP_TIMEOUT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
}
"""MLflow's own waits hold up a training for minutes where a server has died; what a user sets goes before."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Store:
    """Where runs are kept.

    Attributes:
        uri: An MLflow tracking URI: `sqlite:///FILE` for the embedded store, `http://HOST:PORT` for a server; or
            `csv:FOLDER` for files without MLflow.
        artifacts: Folder or address for figures, tables and models; `null` leaves it to the server.
        spool: Folder for what the store did not take, until `winnow sync` sends it.
    """

    uri: str
    artifacts: str | None = None
    spool: str = "outputs/unsent"

    def check(self) -> list[WinnowError]:
        """Return an error where the store cannot be written."""
        folders = {"uri": self._file.parent if self._file else self._csv, "artifacts": self._folder}
        faults = [
            WinnowError(f"{fault} Choose another folder with output_dir=FOLDER.", key)
            for key, folder in folders.items()
            if folder is not None and (fault := _unwritable(folder))
        ]
        if not faults and self._csv is None:
            try:
                self.client()
            except WinnowError as error:
                faults.append(error)
        return faults

    def client(self) -> MlflowClient:
        """Return a client, after making an embedded database with its schema where there is none.

        Processes that start together on an empty file would break one another's migration, so a lock is held; WAL
        mode lets one process write while others read.

        Raises:
            WinnowError: The store does not answer, refuses, or cannot be written; key `uri`.
        """
        if self._csv is not None:
            raise store_required_error()
        client = self.connect()
        if self.is_server:
            try:
                call_with_timeout(CHECK_TIMEOUT_SECONDS, lambda: client.search_experiments(max_results=1))
            except Exception as error:
                raise build_store_error(self.uri, error) from error
        return client

    def experiment(self, name: str, metrics: Sequence[Metric] = ()) -> str:
        """Return the id of the experiment of that name, made where there is none.

        Where a server has died since it was last asked, the answer is remembered.

        Args:
            name: The experiment's name.
            metrics: Scores that the table of its runs opens with in MLflow's pages.
        """
        from mlflow.exceptions import MlflowException

        if self._csv is not None:
            return name
        known = self._remembered().get(name) if self.is_server else None
        try:
            if known is None:
                found = self._experiment(self.client(), name, metrics)
            else:
                found = call_with_timeout(
                    REQUEST_TIMEOUT_SECONDS, lambda: self._experiment(self.connect(), name, metrics)
                )
        except (WinnowError, MlflowException, TimeoutError) as error:
            if known is not None:
                return known
            raise error if isinstance(error, WinnowError) else build_store_error(self.uri, error) from error
        if self.is_server and known != found:
            self._remember(name, found)
        return found

    def start_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> Writer:
        """Begin a run, in the store or, where that does not answer, on this machine for the time being."""
        now = int(time.time() * 1000)
        if self._csv is not None:
            title = "".join(c if c.isalnum() else "-" for c in f"{name}-{new_offline_id()[:8]}")
            writer = CsvWriter(self._csv / experiment_id / title)
            writer.write({"do": "tags", "tags": dict(tags)})
            return writer
        return self._writer(RunStart(new_offline_id(), experiment_id, name, dict(tags), now))

    def resume_run(self, run_id: str, experiment_id: str, name: str, tags: Mapping[str, str], time: int) -> Writer:
        """Return a writer to a run that was begun earlier, at a time in milliseconds since 1970."""
        return self._writer(RunStart(run_id, experiment_id, name, dict(tags), time))

    @property
    def tracking_uri(self) -> str:
        """The URI with an absolute path: MLflow remembers stores by URI, and a relative one depends on the folder."""
        return f"{SQLITE_PREFIX}{self._file.resolve()}" if self._file else self.uri

    @property
    def is_server(self) -> bool:
        """Whether the store is reached over HTTP."""
        return is_server(self.uri)

    @property
    def redacted_uri(self) -> str:
        """The URI as it may be shown: without a password."""
        return redact_password(self.uri)

    @property
    def spool_folder(self) -> Path:
        """Where runs keep what could not be sent: a folder for each store."""
        return Path(self.spool) / "".join(c if c.isalnum() else "-" for c in redact_password(self.tracking_uri))[-80:]

    def _writer(self, run_start: RunStart) -> MlflowWriter:
        return MlflowWriter(self.connect(), self.redacted_uri, self.spool_folder, run_start)

    def connect(self) -> MlflowClient:
        """Return a client; a server is not asked yet."""
        silence_mlflow()
        for name, value in HTTP_TIMEOUT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        if self._file is None:
            return _client(self.uri)
        with self._alone():
            try:
                open_database(self._file)
                client = _client(self.tracking_uri)
                client.search_experiments(max_results=1)
            except Exception as error:
                raise build_store_error(self.uri, error) from error
        return client

    def _experiment(self, client: MlflowClient, name: str, metrics: Sequence[Metric]) -> str:
        from mlflow.exceptions import MlflowException

        shown = {VIEW_TAG: build_runs_view(metrics)} if metrics else {}
        with self._alone():
            found = client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(client.create_experiment(name, self._artifacts_of(name), EXPERIMENT_TAGS | shown))
                except MlflowException:  # on a server, which no lock of ours holds, another may have been faster
                    found = client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            for tag, value in shown.items():
                if found.tags.get(tag) != value:
                    client.set_experiment_tag(found.experiment_id, tag, value)
            return str(found.experiment_id)

    def _artifacts_of(self, name: str) -> str | None:
        if self._folder is not None:
            return (self._folder.resolve() / name).as_uri()
        return f"{self.artifacts}/{name}" if self.artifacts else None

    def _remembered(self) -> dict[str, str]:
        """Return the experiments of this store that were asked for before, by name."""
        try:
            found: dict[str, str] = json.loads((self.spool_folder / "experiments.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def _remember(self, name: str, experiment_id: str) -> None:
        self.spool_folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self._remembered(), name: experiment_id})
        (self.spool_folder / "experiments.json").write_text(text, encoding="utf-8")

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
    def _folder(self) -> Path | None:
        return None if self.artifacts is None or "://" in self.artifacts else Path(self.artifacts)

    @property
    def _file(self) -> Path | None:
        return Path(self.uri.removeprefix(SQLITE_PREFIX)) if self.uri.startswith(SQLITE_PREFIX) else None

    @property
    def _csv(self) -> Path | None:
        return Path(self.uri.removeprefix(CSV)) if self.uri.startswith(CSV) else None


def _client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def silence_mlflow() -> None:
    """Keep the migration log of a new database, and MLflow's hints and progress bars, off the terminal."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
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
