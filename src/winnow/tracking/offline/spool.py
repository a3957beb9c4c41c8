"""What a store did not take, kept in a folder of this machine until it can be sent.

One folder a run: ``run.json`` says which run it is, ``operations.jsonl`` holds a line for each operation, and ``files``
copies of its artifacts.
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

from winnow.disk import flush_to_disk
from winnow.errors import WinnowError
from winnow.tracking.keys import OFFLINE_ID
from winnow.tracking.offline.operations import Operation, clear_failure, perform

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARENT_RUN_ID: Final = "mlflow.parentRunId"

_OFFLINE_MARK: Final = "-offline"


@dataclasses.dataclass(frozen=True)
class RunStart:
    """How a run was begun, so that the store can be told of it later.

    Attributes:
        run_id: The run's id in the store; for a run that the store does not know yet, one of :func:`offline_id`.
        experiment_id: The experiment it belongs to.
        name: Its name.
        tags: Its first tags; a parent may be a run that the store does not know either.
        time: When it began, in milliseconds since 1970.
    """

    run_id: str
    experiment_id: str
    name: str
    tags: dict[str, str]
    time: int

    def create_run(self, client: MlflowClient) -> str:
        """Make the run, and return its id in the store."""
        tags = {**self.tags, OFFLINE_ID: self.run_id}
        if parent := tags.get(PARENT_RUN_ID, ""):
            tags[PARENT_RUN_ID] = (is_offline(parent) and _find(client, self.experiment_id, parent)) or parent
        run = client.create_run(self.experiment_id, start_time=self.time, run_name=self.name, tags=tags)
        return str(run.info.run_id)

    def find_or_create_run(self, client: MlflowClient) -> str:
        """Return the run's id in the store, where it is made unless an earlier attempt did."""
        if not is_offline(self.run_id):
            return self.run_id
        return _find(client, self.experiment_id, self.run_id) or self.create_run(client)


class Spool:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path, run_start: RunStart) -> Spool:
        """Make the folder of a run below `folder`, unless it was made before."""
        spool = cls(folder / run_start.run_id)
        try:
            spool.folder.mkdir(parents=True, exist_ok=True)
            draft = spool.folder / f"run.json.{os.getpid()}"
            draft.write_text(json.dumps(dataclasses.asdict(run_start), ensure_ascii=False), encoding="utf-8")
            draft.replace(spool.folder / "run.json")
        except OSError as error:
            raise spool._lost(error) from error
        return spool

    @property
    def exists(self) -> bool:
        """Whether anything is kept."""
        return (self.folder / "run.json").exists()

    @property
    def run_start(self) -> RunStart:
        """How the run was begun."""
        return RunStart(**json.loads((self.folder / "run.json").read_text(encoding="utf-8")))

    def append(self, operation: Operation) -> None:
        """Write an operation down, with a copy of the artifact it speaks of."""
        try:
            if operation["do"] == "artifact":
                operation = {**operation, "file": self._copy(Path(operation["file"]))}
            with (self.folder / "operations.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(operation, ensure_ascii=False) + "\n")
            flush_to_disk(self.folder / "operations.jsonl")
        except OSError as error:
            raise self._lost(error) from error

    def operations(self) -> Iterator[Operation]:
        """Yield what was kept, in order; a last line that a killed process left torn is passed over."""
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
        """Return how many operations are kept."""
        return sum(1 for _ in self.operations())

    def send(self, client: MlflowClient) -> str:
        """Send everything and remove the folder; return the run's id in the store.

        What was sent before a failure is sent again the next time, which changes nothing.
        """
        run_id, _ = self.send_from(client, 0)
        self.remove()
        return run_id

    def send_from(self, client: MlflowClient, first: int) -> tuple[str, int]:
        """Send the operations from a number on; return the run's id in the store, and how many are sent in all."""
        run_id = self.run_start.find_or_create_run(client)
        operations = list(self.operations())
        if not first:
            clear_failure(client, run_id)  # another machine may have closed the run, since it could not hear of it
        for (kind, only_new), alike in itertools.groupby(operations[first:], key=_alike):
            if kind == "metrics":  # a few large calls instead of many small ones
                values = [one for each in alike for one in each["values"]]
                perform(client, run_id, {"do": kind, "values": values, "only_new": only_new})
            else:
                for operation in alike:
                    perform(client, run_id, operation)
        return run_id, len(operations)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)

    def _copy(self, source: Path) -> str:
        """Copy a file or a folder, and return the copy's path below the run's folder."""
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        target = files / str(len(list(files.iterdir()))) / source.name
        target.parent.mkdir()
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
        return target.relative_to(self.folder).as_posix()

    def _lost(self, error: OSError) -> WinnowError:
        return WinnowError(
            f"the store does not take what this run logs, and it cannot be kept in {str(self.folder)!r} either "
            f"({error.strerror or error}). Free some space, or let that folder be written, and run again; training "
            "goes on from its last checkpoint."
        )


def _alike(operation: Operation) -> tuple[str, bool]:
    """Return what operations that are sent together have in common."""
    return operation["do"], bool(operation.get("only_new"))


def new_offline_id() -> str:
    """Return an id for a run that the store does not know yet."""
    return f"{uuid.uuid4().hex}{_OFFLINE_MARK}"


def is_offline(run_id: str) -> bool:
    """Tell whether an id is one of :func:`offline_id`."""
    return run_id.endswith(_OFFLINE_MARK)


def _find(client: MlflowClient, experiment_id: str, offline_id: str) -> str | None:
    """Return the run that was begun under an id of our own, once it is in the store."""
    found = client.search_runs([experiment_id], f"tags.`{OFFLINE_ID}` = '{offline_id}'", max_results=1)
    return str(found[0].info.run_id) if found else None
