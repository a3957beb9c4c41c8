"""Timeouts for a server that may accept a request and never respond."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

Response = TypeVar("Response")

REQUEST_TIMEOUT_SECONDS: Final = 1.0
"""Total time in seconds that a run waits for its server; after that, operations are sent in the background."""

CHECK_TIMEOUT_SECONDS: Final = 10.0
"""Time in seconds that a command waits for the first response of a server."""


class NoResponseError(TimeoutError):
    """A server did not respond in time.

    Attributes:
        thread: The thread that is still waiting for the response.
    """

    def __init__(self, seconds: float, thread: threading.Thread) -> None:
        super().__init__(f"timed out: no response within {seconds:g} s")
        self.thread = thread


def call_with_timeout(seconds: float, call: Callable[[], Response]) -> Response:
    """Run a call in a thread and return its result; after the timeout the thread is abandoned.

    Raises:
        NoResponseError: The call takes longer than `seconds`.
        Exception: Any exception of the call.
    """
    responses: list[Response] = []
    errors: list[Exception] = []

    def run_call() -> None:
        try:
            responses.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run_call, name="winnow-request", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not responses:
        raise NoResponseError(seconds, thread)
    return responses[0]
