"""Limit how long a call waits for a server that accepts a request but never responds."""

from __future__ import annotations

import concurrent.futures.thread
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

if TYPE_CHECKING:
    from mlflow import MlflowClient

Response = TypeVar("Response")

REQUEST_TIMEOUT_SECONDS: Final = 1.0
"""Maximum time in seconds that a run waits for a request. After a timeout, operations are sent in the background."""

CHECK_TIMEOUT_SECONDS: Final = 5.0
"""Maximum time in seconds that a command waits for the response to a request that only checks the server."""


class NoResponseError(TimeoutError):
    """Raised when a server does not respond in time.

    Attributes:
        thread: The thread that is still waiting for the response.
    """

    def __init__(self, seconds: float, thread: threading.Thread) -> None:
        super().__init__(f"timed out: no response within {seconds:g} s")
        self.thread = thread


def call_with_timeout(seconds: float, call: Callable[[], Response]) -> Response:
    """Run a call in a thread and return its result; after a timeout, the thread is abandoned.

    Raises:
        NoResponseError: If the call takes longer than `seconds`.
        Exception: If the call raises an exception; this exception propagates unchanged.
    """
    thread = _CallThread(call)
    thread.join(seconds)
    if thread.is_alive():
        _ignore_abandoned_threads_at_exit()
        raise NoResponseError(seconds, thread)
    return thread.result()


def call_while_server_responds(call: Callable[[], Response], check: Callable[[], object]) -> Response:
    """Run a call in a thread and return its result. While the call runs, check that the server still responds.

    A call may take long, because large files take long to transfer. It is abandoned only if the server does not respond
    to another request.

    Args:
        call: A function that sends any request to the server.
        check: A function that sends a request to the server that takes little time.

    Raises:
        NoResponseError: If a check takes longer than :data:`CHECK_TIMEOUT_SECONDS`.
        Exception: If the call or a check raises an exception; this exception propagates unchanged.
    """
    thread = _CallThread(call)
    thread.join(REQUEST_TIMEOUT_SECONDS)
    while thread.is_alive():
        try:
            call_with_timeout(CHECK_TIMEOUT_SECONDS, check)
        except Exception:
            if thread.is_alive():
                raise
        thread.join(REQUEST_TIMEOUT_SECONDS)
    return thread.result()


class _CallThread(threading.Thread, Generic[Response]):
    """A daemon thread that runs a call and keeps its result or exception."""

    def __init__(self, call: Callable[[], Response]) -> None:
        super().__init__(name="winnow-request", daemon=True)
        self._call = call
        self._responses: list[Response] = []
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._responses.append(self._call())
        except Exception as error:
            self._error = error

    def result(self) -> Response:
        """Return the call's result, or raise its exception. The thread must have ended."""
        if self._error is not None:
            raise self._error
        return self._responses[0]


def _ignore_abandoned_threads_at_exit() -> None:
    """Let Python exit without waiting for the threads in which abandoned calls transfer files.

    MLflow transfers files in a thread pool. At exit, Python waits for the threads of all pools. The pools of abandoned
    calls are recognized by their daemon threads: only a daemon thread starts such threads.
    """
    queues = cast("dict[threading.Thread, Any]", concurrent.futures.thread._threads_queues)
    for thread in [thread for thread in queues if thread.daemon]:
        queues.pop(thread, None)


class ResponsiveClient:
    """Forwards calls to an MLflow client. If the server stops responding, a call fails within seconds.

    MLflow's own client waits for each response until the HTTP timeout, and then repeats the request. After a call has
    failed, later calls fail immediately until the abandoned call ends.

    Args:
        client: The client of a tracking server.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._silence: NoResponseError | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        return functools.partial(self._call, attribute) if callable(attribute) else attribute

    def _call(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            if self._silence is not None and self._silence.thread.is_alive():
                raise self._silence
            return call_while_server_responds(
                functools.partial(method, *arguments, **options), lambda: self._client.search_experiments(max_results=1)
            )
        except NoResponseError as error:
            self._silence = error
            raise MlflowException(f"API request to the tracking server {error}") from error
