"""Where a run's operations go: to MLflow, and where MLflow does not take them, to a folder of this machine."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.tracking.offline.operations import Operation, is_retryable, perform
from winnow.tracking.offline.spool import RunStart, Spool, is_offline
from winnow.tracking.offline.timeouts import REQUEST_TIMEOUT_SECONDS, NoResponseError, Response, call_with_timeout
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

    def request(self, call: Callable[[], Response]) -> Response:
        """Return the store's answer to a request."""

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""

    def send_spooled(self) -> bool:
        """Try to send what was kept; tell whether nothing waits any more."""


class MlflowWriter:
    """Writes to MLflow. After the first failure everything is kept on this machine, in order, until it can be sent.

    The writer waits for a server at most :data:`REQUEST_TIMEOUT_SECONDS` in total. After that, every operation is first
    written to the spool and then sent by :meth:`send_spooled`, which the background thread of a run calls.

    Args:
        client: The client of the store.
        where: The store, as a message names it.
        folder: Where each run keeps what could not be sent.
        run_start: The run; one with an id of :func:`offline_id` is made here.
    """

    def __init__(self, client: MlflowClient, where: str, folder: Path, run_start: RunStart) -> None:
        self.client = client
        self._is_server = is_server(client.tracking_uri)
        self._where = where
        self._folder = folder
        self._run_start = run_start
        self._writing, self._sending = threading.Lock(), threading.Lock()
        self._late: threading.Thread | None = None
        # What an earlier attempt has kept is sent before anything that follows.
        has_spool = Spool(folder / run_start.run_id).exists
        self._spool: Spool | None = Spool.create(folder, run_start) if has_spool else None
        if is_offline(run_start.run_id):
            try:
                self._set_run_id(self.request(lambda: run_start.create_run(client)))
            except Exception as error:
                self._start_spooling(error)

    @property
    def run_id(self) -> str:
        """The run's id, of our own making until the store knows the run."""
        return self._run_start.run_id

    def request(self, call: Callable[[], Response]) -> Response:
        """Return the store's answer to a request; a server that does not answer in time is not waited for again.

        Raises:
            NoResponseError: The server does not answer in time.
            Exception: Whatever the request raises.
        """
        if not self._is_server:
            return call()
        if self._late is not None:
            raise NoResponseError(REQUEST_TIMEOUT_SECONDS, self._late)
        try:
            return call_with_timeout(REQUEST_TIMEOUT_SECONDS, call)
        except NoResponseError as error:
            self._late = error.thread
            raise

    def write(self, operation: Operation) -> None:
        """Perform an operation, or keep it until it can be performed."""
        with self._writing:
            if self._spool is None and self._late is None:
                try:
                    self._perform(operation)
                    return
                except Exception as error:
                    self._start_spooling(error)
            if self._spool is None:
                self._spool = Spool.create(self._folder, self._run_start)
            self._spool.append(operation)

    def send_spooled(self) -> bool:
        """Try to send what was kept, while more may be written; return whether nothing waits any more."""
        if self._spool is None:
            return True
        if not self._sending.acquire(timeout=REQUEST_TIMEOUT_SECONDS):  # another thread sends, or waits for the server
            return False
        try:
            return self._send()
        finally:
            self._sending.release()

    def _send(self) -> bool:
        sent = 0
        while (spool := self._spool) is not None:
            try:
                self._check_answers()
                run_id, sent = spool.send_from(self.client, sent)
            except Exception as error:
                if not is_retryable(error):
                    raise
                return False
            self._set_run_id(run_id)
            with self._writing:
                if spool.count() == sent:
                    spool.remove()
                    self._spool = None
        return True

    def _check_answers(self) -> None:
        """Raise if a server does not answer a small request in time, or still handles one that took too long."""
        if self._is_server:
            if self._late is not None and self._late.is_alive():
                raise NoResponseError(REQUEST_TIMEOUT_SECONDS, self._late)
            call_with_timeout(REQUEST_TIMEOUT_SECONDS, lambda: self.client.search_experiments(max_results=1))

    def _perform(self, operation: Operation) -> None:
        if operation["do"] == "artifact":  # may take long for its size, so only a server that answers gets it
            self.request(lambda: self.client.search_experiments(max_results=1))
            perform(self.client, self.run_id, operation)
        else:
            self.request(lambda: perform(self.client, self.run_id, operation))

    def _set_run_id(self, run_id: str) -> None:
        self._run_start = dataclasses.replace(self._run_start, run_id=run_id)

    def _start_spooling(self, error: Exception) -> None:
        if not is_retryable(error):
            raise error
        self._spool = Spool.create(self._folder, self._run_start)
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        print(
            f"winnow: the store {self._where} does not take what this run logs ({reason}). The run goes on, and what "
            f"it logs is kept in {self._spool.folder} until the store answers; should the run end before, send it "
            "with: winnow sync",
            file=sys.stderr,
            flush=True,
        )
