"""The store of runs: an embedded SQLite database, an MLflow server, or a folder of CSV files."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.metrics.metric_registry import Metric
from winnow.tracking.csv_writer import CsvWriter, store_required_error
from winnow.tracking.embedded_store import SQLITE_PREFIX, create_or_check_database
from winnow.tracking.mlflow_ui import EXPERIMENT_DESCRIPTION, EXPERIMENT_TAGS, build_view_tags
from winnow.tracking.offline.request_timeouts import (
    CHECK_TIMEOUT_SECONDS,
    REQUEST_TIMEOUT_SECONDS,
    ResponsiveClient,
    call_with_timeout,
)
from winnow.tracking.offline.run_writer import MlflowWriter, RunWriter
from winnow.tracking.offline.spool import RunStart, new_offline_run_id
from winnow.tracking.store_errors import build_store_error, find_address_problem, is_server, redact_password
from winnow.untrusted_text import MAX_NAME_LENGTH

if TYPE_CHECKING:
    from mlflow import MlflowClient

CSV_PREFIX = "csv:"

HTTP_TIMEOUT_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT": "60",
}
"""Default values of environment variables for request timeouts and retries.

MLflow's own defaults block training for minutes if the server is down.
"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Store:
    """The location where runs are stored.

    Attributes:
        uri: An MLflow tracking URI: `sqlite:///FILE` for the embedded store, `http://HOST:PORT` for a server; or
            `csv:FOLDER` for files without MLflow.
        artifacts: Folder or URI for figures, tables and models; if `null`, the server's default location is used.
        spool: Folder for operations that the store did not accept. The run or `winnow sync` sends these operations
            later.
    """

    uri: str
    artifacts: str | None = None
    spool: str = "outputs/unsent"

    def __post_init__(self) -> None:
        if problem := find_address_problem(self.uri):
            raise WinnowError(
                f"{problem}, got {redact_password(self.uri)[:200]!r}. Allowed: sqlite:///FILE, http://HOST:PORT, "
                "https://HOST, csv:FOLDER, and databases such as postgresql://USER@HOST/NAME.",
                "uri",
            )

    def check(self) -> list[WinnowError]:
        """Return the errors that prevent writing to the store."""
        folders = {
            "uri": self._database_file.parent if self._database_file else self._csv_folder,
            "artifacts": self._artifact_folder,
        }
        errors = [
            WinnowError(f"{problem} Choose another folder with output_dir=FOLDER.", key)
            for key, folder in folders.items()
            if folder is not None and (problem := _find_write_problem(folder))
        ]
        if not errors and self._csv_folder is None:
            try:
                self.client()
            except WinnowError as error:
                errors.append(error)
        return errors

    def client(self) -> MlflowClient:
        """Return a client after checking the connection; an embedded database is created if it does not exist.

        If a server stops responding later, the client's calls raise `MlflowException` within seconds.

        Raises:
            WinnowError: If the store does not respond, denies access, or is not writable (key `uri`).
        """
        if self._csv_folder is not None:
            raise store_required_error()
        client = self.connect()
        if self.is_server:
            try:
                call_with_timeout(CHECK_TIMEOUT_SECONDS, lambda: client.search_experiments(max_results=1))
            except Exception as error:
                raise build_store_error(self.uri, error) from error
            return cast("MlflowClient", ResponsiveClient(client))
        return client

    def experiment(self, name: str, metrics: Sequence[Metric] = (), factors: Sequence[str] = ()) -> str:
        """Return an experiment's id; the experiment is created if it does not exist.

        If a server does not respond, return the id from an earlier response, which is cached on disk.

        Args:
            name: The experiment's name.
            metrics: Scores to show in the runs table of the MLflow UI.
            factors: Factors of the study, whose levels the runs table shows.
        """
        from mlflow.exceptions import MlflowException

        if self._csv_folder is not None:
            return name
        cached_id = self._read_cached_experiments().get(name) if self.is_server else None
        try:
            if cached_id is None:
                experiment_id = self._get_or_create_experiment(self.client(), name, metrics, factors)
            else:
                experiment_id = call_with_timeout(
                    REQUEST_TIMEOUT_SECONDS,
                    lambda: self._get_or_create_experiment(self.connect(), name, metrics, factors),
                )
        except (WinnowError, MlflowException, TimeoutError) as error:
            if cached_id is not None:
                return cached_id
            raise error if isinstance(error, WinnowError) else build_store_error(self.uri, error) from error
        if self.is_server and cached_id != experiment_id:
            self._cache_experiment(name, experiment_id)
        return experiment_id

    def describe_experiment(self, experiment_id: str, description: str) -> None:
        """Set the description of an experiment. It is not changed if the store does not respond."""
        from mlflow.exceptions import MlflowException

        if self._csv_folder is None:
            with suppress(WinnowError, MlflowException, TimeoutError):
                call_with_timeout(
                    REQUEST_TIMEOUT_SECONDS,
                    lambda: self.client().set_experiment_tag(experiment_id, EXPERIMENT_DESCRIPTION, description),
                )

    def start_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> RunWriter:
        """Start a run in the store or, if the store does not respond, in the spool."""
        now = int(time.time() * 1000)
        if self._csv_folder is not None:
            folder_name = _replace_special_characters(f"{name[:MAX_NAME_LENGTH]}-{new_offline_run_id()[:8]}")
            writer = CsvWriter(self._csv_folder / experiment_id / folder_name)
            writer.write({"do": "tags", "tags": dict(tags)})
            return writer
        return self._writer(RunStart(new_offline_run_id(), experiment_id, name, dict(tags), now))

    def resume_run(self, run_id: str, experiment_id: str, name: str, tags: Mapping[str, str], time: int) -> RunWriter:
        """Return a writer for an existing run; `time` is the run's start time in milliseconds since 1970."""
        return self._writer(RunStart(run_id, experiment_id, name, dict(tags), time))

    @property
    def tracking_uri(self) -> str:
        """The URI for MLflow, with an absolute database path because the working directory may change."""
        return f"{SQLITE_PREFIX}{self._database_file.resolve()}" if self._database_file else self.uri

    @property
    def is_server(self) -> bool:
        """Whether the store is accessed over HTTP."""
        return is_server(self.uri)

    @property
    def is_csv(self) -> bool:
        """Whether the store is a folder of CSV files, which supports only single runs."""
        return self._csv_folder is not None

    @property
    def redacted_uri(self) -> str:
        """The store's URI as shown in messages, without the password."""
        return redact_password(self.uri)

    @property
    def spool_folder(self) -> Path:
        """This store's subfolder of the spool."""
        return Path(self.spool) / _replace_special_characters(redact_password(self.tracking_uri))[-80:]

    def _writer(self, run_start: RunStart) -> MlflowWriter:
        return MlflowWriter(self.connect(), self.redacted_uri, self.spool_folder, run_start)

    def connect(self) -> MlflowClient:
        """Return a client without contacting a server; an embedded database is created if it does not exist."""
        silence_mlflow()
        for name, value in HTTP_TIMEOUT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        if self._database_file is None:
            try:
                return _create_client(self.uri)
            except Exception as error:  # the database driver is missing, or the address is not valid
                raise build_store_error(self.uri, error) from error
        with self._exclusive_lock():
            try:
                create_or_check_database(self._database_file)
                client = _create_client(self.tracking_uri)
                client.search_experiments(max_results=1)
            except Exception as error:
                raise build_store_error(self.uri, error) from error
        return client

    def _get_or_create_experiment(
        self, client: MlflowClient, name: str, metrics: Sequence[Metric], factors: Sequence[str]
    ) -> str:
        from mlflow.exceptions import MlflowException

        view_tags = build_view_tags(metrics, factors) if metrics else {}
        with self._exclusive_lock():
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    return str(
                        client.create_experiment(name, self._artifact_location(name), EXPERIMENT_TAGS | view_tags)
                    )
                except MlflowException:  # a server has no lock, so another process may have created the experiment
                    experiment = client.get_experiment_by_name(name)
                    if experiment is None:
                        raise
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            for tag, value in view_tags.items():
                if experiment.tags.get(tag) != value:
                    client.set_experiment_tag(experiment.experiment_id, tag, value)
            return str(experiment.experiment_id)

    def _artifact_location(self, name: str) -> str | None:
        if self._artifact_folder is not None:
            return (self._artifact_folder.resolve() / name).as_uri()
        return f"{self.artifacts}/{name}" if self.artifacts else None

    def _read_cached_experiments(self) -> dict[str, str]:
        """Return this store's cached experiment ids, by experiment name."""
        try:
            experiment_ids: dict[str, str] = json.loads(
                (self.spool_folder / "experiments.json").read_text(encoding="utf-8")
            )
        except (OSError, ValueError):
            return {}
        return experiment_ids

    def _cache_experiment(self, name: str, experiment_id: str) -> None:
        self.spool_folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self._read_cached_experiments(), name: experiment_id})
        (self.spool_folder / "experiments.json").write_text(text, encoding="utf-8")

    @contextmanager
    def _exclusive_lock(self) -> Iterator[None]:
        """Hold the embedded database's lock file, since concurrent migrations would corrupt a new database."""
        from filelock import FileLock

        if self._database_file is None:
            yield
            return
        self._database_file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self._database_file}.lock"):
            yield

    @property
    def _artifact_folder(self) -> Path | None:
        return None if self.artifacts is None or "://" in self.artifacts else Path(self.artifacts)

    @property
    def _database_file(self) -> Path | None:
        return Path(self.uri.removeprefix(SQLITE_PREFIX)) if self.uri.startswith(SQLITE_PREFIX) else None

    @property
    def _csv_folder(self) -> Path | None:
        return Path(self.uri.removeprefix(CSV_PREFIX)) if self.uri.startswith(CSV_PREFIX) else None


def _create_client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def silence_mlflow() -> None:
    """Disable MLflow's progress bars, and set the loggers of MLflow and Alembic to WARNING."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow  # noqa: F401 - the import configures MLflow's loggers

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _replace_special_characters(text: str) -> str:
    """Replace every character that is not a letter or digit with a hyphen."""
    return "".join(char if char.isalnum() else "-" for char in text)


def _find_write_problem(folder: Path) -> str | None:
    """Return why a folder is not writable, or `None` if it is writable; a missing folder is created."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot write to {str(folder)!r} ({error.strerror})."
