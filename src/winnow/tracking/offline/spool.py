"""Store operations that an MLflow store did not accept on disk until the store accepts them.

Each run has one folder: ``run.json`` identifies the run, ``operations.jsonl`` contains one operation per line, and
``files`` contains copies of its artifacts.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.errors import WinnowError
from winnow.fsync import flush_to_disk
from winnow.tracking.keys import OFFLINE_ID
from winnow.tracking.offline.run_operations import Operation, clear_failure, perform_operation

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT_RUN_ID: Final = "mlflow.parentRunId"

_OFFLINE_SUFFIX: Final = "-offline"


@dataclasses.dataclass(frozen=True)
class RunStart:
    """The arguments for creating a run in the store, either immediately or later.

    Attributes:
        run_id: The run's id in the store, or a temporary id if the run has not been created in the store yet.
        experiment_id: The id of the run's experiment.
        name: The run's name.
        tags: The run's initial tags. The parent run's id in these tags may be temporary.
        time: The run's start time in milliseconds since 1970.
    """

    run_id: str
    experiment_id: str
    name: str
    tags: dict[str, str]
    time: int

    def create_run(self, client: MlflowClient) -> str:
        """Create the run in the store, and return its id."""
        tags = {**self.tags, OFFLINE_ID: self.run_id}
        if parent := tags.get(PARENT_RUN_ID, ""):
            tags[PARENT_RUN_ID] = (
                is_offline_run_id(parent) and _find_run(client, self.experiment_id, parent)
            ) or parent
        run = client.create_run(self.experiment_id, start_time=self.time, run_name=self.name, tags=tags)
        return str(run.info.run_id)

    def find_or_create_run(self, client: MlflowClient) -> str:
        """Return the run's id in the store; the run is created if it does not exist."""
        if not is_offline_run_id(self.run_id):
            return self.run_id
        return _find_run(client, self.experiment_id, self.run_id) or self.create_run(client)


class Spool:
    """A folder on disk with one run's unsent operations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, run_start: RunStart) -> Spool:
        """Create a run's spool in a subfolder of `folder`, or open the existing spool."""
        spool = cls(folder / run_start.run_id)
        try:
            spool.folder.mkdir(parents=True, exist_ok=True)
            temporary = spool.folder / f"run.json.{os.getpid()}"
            temporary.write_text(json.dumps(dataclasses.asdict(run_start), ensure_ascii=False), encoding="utf-8")
            temporary.replace(spool.folder / "run.json")
        except OSError as error:
            raise spool._build_write_error(error) from error
        return spool

    @property
    def exists(self) -> bool:
        """Whether the spool exists on disk."""
        return (self.folder / "run.json").exists()

    def read_run_start(self) -> RunStart:
        """Read the arguments that create the run."""
        return RunStart(**json.loads((self.folder / "run.json").read_text(encoding="utf-8")))

    def append(self, operation: Operation) -> None:
        """Append an operation. The files of an artifact are copied into the spool."""
        try:
            if operation["do"] == "artifact":
                operation = {**operation, "file": self._copy(Path(operation["file"]))}
            with (self.folder / "operations.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(operation, ensure_ascii=False) + "\n")
            flush_to_disk(self.folder / "operations.jsonl")
        except OSError as error:
            raise self._build_write_error(error) from error

    def operations(self) -> Iterator[Operation]:
        """Yield all spooled operations in order; an incomplete line, left by a killed process, is skipped."""
        try:
            lines = (self.folder / "operations.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                operation: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if operation["do"] == "artifact":
                operation["file"] = str(self.folder / operation["file"])
            yield operation

    def count(self) -> int:
        """Return the number of spooled operations."""
        return sum(1 for _ in self.operations())

    def send(self, client: MlflowClient) -> str:
        """Send all operations and remove the spool; return the run's id in the store.

        Because operations are idempotent, the spool can be sent again after a failure.
        """
        run_id, _ = self.send_from(client, 0)
        self.remove()
        return run_id

    def send_from(self, client: MlflowClient, first: int) -> tuple[str, int]:
        """Send all operations from index `first` on; return the run's id and the total number of operations."""
        run_id = self.read_run_start().find_or_create_run(client)
        operations = list(self.operations())
        if not first:
            clear_failure(client, run_id)  # another machine may have ended the run because heartbeats were missing
        for (kind, only_new), group in itertools.groupby(operations[first:], key=_operation_batch_key):
            if kind == "metrics":  # one large call is faster than many small calls
                values = [value for operation in group for value in operation["values"]]
                perform_operation(client, run_id, {"do": kind, "values": values, "only_new": only_new})
            else:
                for operation in group:
                    perform_operation(client, run_id, operation)
        return run_id, len(operations)

    def remove(self) -> None:
        """Remove the spool from disk."""
        shutil.rmtree(self.folder)

    def _copy(self, source: Path) -> str:
        """Copy a file or folder into the spool; return the path of the copy relative to the spool."""
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        target = files / str(len(list(files.iterdir()))) / source.name
        target.parent.mkdir()
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
        return target.relative_to(self.folder).as_posix()

    def _build_write_error(self, error: OSError) -> WinnowError:
        return WinnowError(
            f"cannot log to the store, and cannot save the logs in {str(self.folder)!r} either "
            f"({error.strerror or error}). Free up disk space or make that folder writable, then run the command "
            "again; training resumes from the last checkpoint."
        )


def _operation_batch_key(operation: Operation) -> tuple[str, bool]:
    """Return a key that groups consecutive operations: operations with equal keys can be sent in one call."""
    return operation["do"], bool(operation.get("only_new"))


def new_offline_run_id() -> str:
    """Return a temporary id for a run that has not been created in the store yet."""
    return f"{uuid.uuid4().hex}{_OFFLINE_SUFFIX}"


def is_offline_run_id(run_id: str) -> bool:
    """Return whether an id is temporary, as returned by :func:`new_offline_run_id`."""
    return run_id.endswith(_OFFLINE_SUFFIX)


def _find_run(client: MlflowClient, experiment_id: str, offline_id: str) -> str | None:
    """Return the store's id for a run that was started with a temporary id, or `None` if the store has no such run."""
    runs = client.search_runs([experiment_id], f"tags.`{OFFLINE_ID}` = '{offline_id}'", max_results=1)
    return str(runs[0].info.run_id) if runs else None
