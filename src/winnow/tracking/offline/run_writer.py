"""Write a run's operations to MLflow or, if MLflow does not accept them, to a spool on disk."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.tracking.offline.request_timeouts import (
    REQUEST_TIMEOUT_SECONDS,
    NoResponseError,
    Response,
    call_with_timeout,
)
from winnow.tracking.offline.run_operations import Operation, is_retryable_error, perform_operation
from winnow.tracking.offline.spool import RunStart, Spool, is_offline_run_id
from winnow.tracking.store_errors import is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RunWriter(Protocol):
    """Interface of the classes that perform a run's operations."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def client(self) -> MlflowClient:
        """The store's MLflow client."""

    def request(self, call: Callable[[], Response]) -> Response:
        """Call a function that sends a request to the store, and return its result."""

    def write(self, operation: Operation) -> None:
        """Perform an operation, or spool it if the store does not accept it."""

    def send_spooled(self) -> bool:
        """Try to send spooled operations; return whether the spool is empty."""


class MlflowWriter:
    """Writes to MLflow. After the first failure, all operations are spooled to disk in order until they can be sent.

    If a server does not respond within :data:`REQUEST_TIMEOUT_SECONDS`, the writer stops waiting for this server. From
    then on, every operation is first written to the spool, and the run's background thread sends the spooled operations
    with :meth:`send_spooled`.

    Args:
        client: The store's MLflow client.
        store_label: The store's URI as shown in messages.
        folder: The spool folder, with one subfolder per run.
        run_start: The arguments that create the run. If the run id is temporary, the writer creates the run in the
            store.
    """

    def __init__(self, client: MlflowClient, store_label: str, folder: Path, run_start: RunStart) -> None:
        self.client = client
        self._is_server = is_server(client.tracking_uri)
        self._store_label = store_label
        self._folder = folder
        self._run_start = run_start
        self._write_lock, self._send_lock = threading.Lock(), threading.Lock()
        self._pending_request: threading.Thread | None = None
        # Operations that an earlier attempt spooled must be sent before new operations.
        has_spool = Spool(folder / run_start.run_id).exists
        self._spool: Spool | None = Spool.create(folder, run_start) if has_spool else None
        if is_offline_run_id(run_start.run_id):
            try:
                self._set_run_id(self.request(lambda: run_start.create_run(client)))
            except Exception as error:
                self._start_spooling(error)

    @property
    def run_id(self) -> str:
        """The run's id; a temporary id until the run is created in the store."""
        return self._run_start.run_id

    def request(self, call: Callable[[], Response]) -> Response:
        """Call a function that sends a request to the store, and return its result.

        After one call has timed out, all later calls fail immediately.

        Raises:
            NoResponseError: If the server does not respond in time.
            Exception: If the call raises an exception; this exception propagates unchanged.
        """
        if not self._is_server:
            return call()
        if self._pending_request is not None:
            raise NoResponseError(REQUEST_TIMEOUT_SECONDS, self._pending_request)
        try:
            return call_with_timeout(REQUEST_TIMEOUT_SECONDS, call)
        except NoResponseError as error:
            self._pending_request = error.thread
            raise

    def write(self, operation: Operation) -> None:
        """Perform an operation, or spool it if the store does not accept it."""
        with self._write_lock:
            if self._spool is None and self._pending_request is None:
                try:
                    self._perform(operation)
                    return
                except Exception as error:
                    self._start_spooling(error)
            if self._spool is None:
                self._spool = Spool.create(self._folder, self._run_start)
            self._spool.append(operation)

    def send_spooled(self) -> bool:
        """Try to send all spooled operations, including new ones added meanwhile; return whether the spool is empty."""
        if self._spool is None:
            return True
        if not self._send_lock.acquire(timeout=REQUEST_TIMEOUT_SECONDS):  # another thread is sending
            return False
        try:
            return self._send()
        finally:
            self._send_lock.release()

    def _send(self) -> bool:
        sent_count = 0
        while (spool := self._spool) is not None:
            try:
                self._check_server()
                run_id, sent_count = spool.send_from(self.client, sent_count)
            except Exception as error:
                if not is_retryable_error(error):
                    raise
                return False
            self._set_run_id(run_id)
            with self._write_lock:
                if spool.count() == sent_count:
                    spool.remove()
                    self._spool = None
        return True

    def _check_server(self) -> None:
        """Raise `NoResponseError` if a server does not respond in time or an earlier request is still pending."""
        if self._is_server:
            if self._pending_request is not None and self._pending_request.is_alive():
                raise NoResponseError(REQUEST_TIMEOUT_SECONDS, self._pending_request)
            call_with_timeout(REQUEST_TIMEOUT_SECONDS, lambda: self.client.search_experiments(max_results=1))

    def _perform(self, operation: Operation) -> None:
        if operation["do"] == "artifact":  # uploads have no timeout, so first check that the server responds
            self.request(lambda: self.client.search_experiments(max_results=1))
            perform_operation(self.client, self.run_id, operation)
        else:
            self.request(lambda: perform_operation(self.client, self.run_id, operation))

    def _set_run_id(self, run_id: str) -> None:
        self._run_start = dataclasses.replace(self._run_start, run_id=run_id)

    def _start_spooling(self, error: Exception) -> None:
        if not is_retryable_error(error):
            raise error
        self._spool = Spool.create(self._folder, self._run_start)
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        print(
            f"winnow: cannot log to the store {self._store_label} ({reason}). The run continues. Its logs are saved in "
            f"{self._spool.folder} and sent when the store responds. If the run ends before that, send the logs with: "
            "winnow sync",
            file=sys.stderr,
            flush=True,
        )
