"""Where a run's operations go: to MLflow, and where MLflow does not take them, to a folder of this machine."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.tracking.offline.operations import Operation, may_succeed_later, perform
from winnow.tracking.offline.spool import Beginning, Unsent, is_offline
from winnow.tracking.offline.waiting import WAIT_SECONDS, Answer, NoAnswerError, within
from winnow.tracking.store_errors import is_server

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

    def answer(self, call: Callable[[], Answer]) -> Answer:
        """Return the store's answer to a request."""

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""

    def recover(self) -> bool:
        """Try to send what was kept; tell whether nothing waits any more."""


class MlflowWriter:
    """Writes to MLflow. After the first failure everything is kept on this machine, in order, until it can be sent.

    A server is waited for at most :data:`WAIT_SECONDS` in total. Once that has passed, all that follows is kept first
    and sent by :meth:`recover`, which the background thread of a run calls.

    Args:
        client: The client of the store.
        where: The store, as a message names it.
        folder: Where each run keeps what could not be sent.
        beginning: The run; one with an id of :func:`offline_id` is made here.
    """

    def __init__(self, client: MlflowClient, where: str, folder: Path, beginning: Beginning) -> None:
        self.client = client
        self._is_server = is_server(client.tracking_uri)
        self._where = where
        self._folder = folder
        self._beginning = beginning
        self._writing, self._sending = threading.Lock(), threading.Lock()
        self._late: threading.Thread | None = None
        # What an earlier attempt has kept is sent before anything that follows.
        has_unsent = Unsent(folder / beginning.run_id).exists
        self._unsent: Unsent | None = Unsent.of(folder, beginning) if has_unsent else None
        if is_offline(beginning.run_id):
            try:
                self._is_called(self.answer(lambda: beginning.begin(client)))
            except Exception as error:
                self._keep_from_now_on(error)

    @property
    def run_id(self) -> str:
        """The run's id, of our own making until the store knows the run."""
        return self._beginning.run_id

    def answer(self, call: Callable[[], Answer]) -> Answer:
        """Return the store's answer to a request; a server that does not answer in time is not waited for again.

        Raises:
            NoAnswerError: The server does not answer in time.
            Exception: Whatever the request raises.
        """
        if not self._is_server:
            return call()
        if self._late is not None:
            raise NoAnswerError(WAIT_SECONDS, self._late)
        try:
            return within(WAIT_SECONDS, call)
        except NoAnswerError as error:
            self._late = error.thread
            raise

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""
        with self._writing:
            if self._unsent is None and self._late is None:
                try:
                    self._perform(operation)
                    return
                except Exception as error:
                    self._keep_from_now_on(error)
            if self._unsent is None:
                self._unsent = Unsent.of(self._folder, self._beginning)
            self._unsent.keep(operation)

    def recover(self) -> bool:
        """Try to send what was kept, while more may be written; return whether nothing waits any more."""
        if self._unsent is None:
            return True
        if not self._sending.acquire(timeout=WAIT_SECONDS):  # another thread sends, or waits for the server
            return False
        try:
            return self._send()
        finally:
            self._sending.release()

    def _send(self) -> bool:
        sent = 0
        while (unsent := self._unsent) is not None:
            try:
                self._check_answers()
                run_id, sent = unsent.send_from(self.client, sent)
            except Exception as error:
                if not may_succeed_later(error):
                    raise
                return False
            self._is_called(run_id)
            with self._writing:
                if unsent.count() == sent:
                    unsent.remove()
                    self._unsent = None
        return True

    def _check_answers(self) -> None:
        """Raise if a server does not answer a small request in time, or still handles one that took too long."""
        if self._is_server:
            if self._late is not None and self._late.is_alive():
                raise NoAnswerError(WAIT_SECONDS, self._late)
            within(WAIT_SECONDS, lambda: self.client.search_experiments(max_results=1))

    def _perform(self, operation: Operation) -> None:
        if operation["do"] == "artifact":  # may take long for its size, so only a server that answers gets it
            self.answer(lambda: self.client.search_experiments(max_results=1))
            perform(self.client, self.run_id, operation)
        else:
            self.answer(lambda: perform(self.client, self.run_id, operation))

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
