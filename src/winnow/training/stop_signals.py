"""Ctrl-C and SIGTERM during a training: it ends at the end of a step, where a checkpoint can be taken."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn


class StopSignals:
    """Notes the first Ctrl-C or SIGTERM; a second one stops at once, as without it.

    Only the main thread can watch for signals; in any other, whoever owns that one does.

    Attributes:
        received: The signal's number, once there was one.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._loud = False
        self._before: dict[int, Any] = {}

    def watch(self, loud: bool) -> None:
        """Begin; `loud` tells the user that the signal was heard."""
        self._loud = loud
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) != signal.SIG_IGN:  # as for a command in the background
                self._before[signum] = signal.signal(signum, self._note)

    def forget(self) -> None:
        """Give the signals back to whoever had them."""
        while self._before:
            signal.signal(*self._before.popitem())

    def stop(self) -> NoReturn:
        """End the program the way it would have ended at once.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: With code 143 after SIGTERM, and where another process of the training was told to stop.
        """
        self.forget()
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.stop()
        self.received = signum
        if self._loud:
            # Not print, which a signal may interrupt in the middle of a line.
            os.write(2, b"\nStopping at the end of this step, with a checkpoint. Once more stops at once.\n")
