"""Limit how long a call waits for a server that accepts a request but never responds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

Response = TypeVar("Response")

REQUEST_TIMEOUT_SECONDS: Final = 1.0
"""Maximum time in seconds that a run waits for a request. After a timeout, operations are sent in the background."""

CHECK_TIMEOUT_SECONDS: Final = 10.0
"""Maximum time in seconds that a command waits for a server's first response."""


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
