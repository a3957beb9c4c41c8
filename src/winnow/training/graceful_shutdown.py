"""On Ctrl-C or SIGTERM, finish the current training step and write a checkpoint before exiting."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, NoReturn


class GracefulShutdown:
    """Records the first Ctrl-C or SIGTERM, and exits immediately on the second signal.

    Python allows only the main thread to install signal handlers. In any other thread :meth:`install` does nothing,
    and the existing handlers stay in effect.

    Attributes:
        received_signal: The number of the first signal, or ``None`` if no signal has been received.
    """

    def __init__(self) -> None:
        self.received_signal: int | None = None
        self._verbose = False
        self._previous_handlers: dict[int, Any] = {}

    def install(self, verbose: bool) -> None:
        """Install the signal handlers.

        Args:
            verbose: Whether to print a line when the first signal is received.
        """
        self._verbose = verbose
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) != signal.SIG_IGN:  # shells start background commands with SIGINT ignored
                self._previous_handlers[signum] = signal.signal(signum, self._handle)

    def uninstall(self) -> None:
        """Restore the previous signal handlers."""
        while self._previous_handlers:
            signal.signal(*self._previous_handlers.popitem())

    def exit(self) -> NoReturn:
        """Restore the previous signal handlers, then raise the exception that matches the received signal.

        Raises:
            KeyboardInterrupt: If Ctrl-C was received.
            SystemExit: If SIGTERM was received, or if only another rank received a signal; the exit code is 143.
        """
        self.uninstall()
        if self.received_signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received_signal is not None:
            self.exit()
        self.received_signal = signum
        if self._verbose:
            # Unlike print, os.write is safe in a handler that interrupts another print.
            os.write(2, b"\nStopping after this step, with a checkpoint. Send the signal again to stop immediately.\n")
