"""Bounded waits for a server that may accept a request and never answer it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

Response = TypeVar("Response")

REQUEST_TIMEOUT_SECONDS: Final = 1.0
"""How long a run waits for its server in total; what takes longer is sent in the background."""

CHECK_TIMEOUT_SECONDS: Final = 10.0
"""How long a command waits for a server's first answer."""


class NoResponseError(TimeoutError):
    """A server did not answer in time.

    Attributes:
        thread: The thread that still waits for the answer.
    """

    def __init__(self, seconds: float, thread: threading.Thread) -> None:
        super().__init__(f"timed out: no answer within {seconds:g} s")
        self.thread = thread


def call_with_timeout(seconds: float, call: Callable[[], Response]) -> Response:
    """Return what a call returns, in a thread of its own that is abandoned after a time.

    Raises:
        NoResponseError: The call takes longer.
        Exception: Whatever the call raises.
    """
    answers: list[Response] = []
    errors: list[Exception] = []

    def answer() -> None:
        try:
            answers.append(call())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=answer, name="winnow-request", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise NoResponseError(seconds, thread)
    return answers[0]
