"""Where a run's operations go: to MLflow, and where MLflow does not take them, to a folder of this machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.tracking.offline.operations import Operation, may_succeed_later, perform
from winnow.tracking.offline.spool import Beginning, Unsent, is_offline

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Writer(Protocol):
    """What a run writes through."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def client(self) -> MlflowClient:
        """The client of the store."""

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""

    def recover(self) -> bool:
        """Try to send what was kept; tell whether nothing waits any more."""


class MlflowWriter:
    """Writes to MLflow. After the first failure everything is kept on this machine, in order, until it can be sent.

    Args:
        client: The client of the store.
        where: The store, as a message names it.
        folder: Where each run keeps what could not be sent.
        beginning: The run; one with an id of :func:`offline_id` is made here.
    """

    def __init__(self, client: MlflowClient, where: str, folder: Path, beginning: Beginning) -> None:
        self.client = client
        self._where = where
        self._folder = folder
        self._beginning = beginning
        # What an earlier attempt has kept is sent before anything that follows.
        has_unsent = Unsent(folder / beginning.run_id).exists
        self._unsent: Unsent | None = Unsent.of(folder, beginning) if has_unsent else None
        if is_offline(beginning.run_id):
            try:
                self._is_called(beginning.begin(client))
            except Exception as error:
                self._keep_from_now_on(error)

    @property
    def run_id(self) -> str:
        """The run's id, of our own making until the store knows the run."""
        return self._beginning.run_id

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""
        if self._unsent is None:
            try:
                perform(self.client, self.run_id, operation)
            except Exception as error:
                self._keep_from_now_on(error)
        if self._unsent is not None:
            self._unsent.keep(operation)

    def recover(self) -> bool:
        """Try to send what was kept; tell whether nothing waits any more."""
        if self._unsent is not None:
            try:
                self._is_called(self._unsent.send(self.client))
            except Exception as error:
                if not may_succeed_later(error):
                    raise
                return False
            self._unsent = None
        return True

    def _is_called(self, run_id: str) -> None:
        self._beginning = dataclasses.replace(self._beginning, run_id=run_id)

    def _keep_from_now_on(self, error: Exception) -> None:
        if not may_succeed_later(error):
            raise error
        self._unsent = Unsent.of(self._folder, self._beginning)
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        print(
            f"winnow: the store {self._where} does not take what this run logs ({reason}). The run goes on, and what "
            f"it logs is kept in {self._unsent.folder} until the store answers; should the run end before, send it "
            "with: winnow sync",
            file=sys.stderr,
            flush=True,
        )
