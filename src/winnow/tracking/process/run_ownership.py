"""Identify the process that executes a run, and check whether this process still exists.

A killed process cannot update the store, so its run would stay RUNNING forever. Each run therefore has a tag that
identifies its process. A process on the same machine is looked up by process id, boot id and start time, because the
operating system reuses process ids. For a process on another machine, only the time of the last heartbeat is known.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from winnow.errors import WinnowError

HEARTBEAT_INTERVAL_SECONDS: Final = 60
"""Interval in seconds between two heartbeats of a run."""

HEARTBEAT_TIMEOUT_SECONDS: Final = 900
"""Seconds without a heartbeat after which a run on another machine counts as dead; much longer than clock skew."""

LOCK_TIMEOUT_SECONDS: Final = 10
"""Time in seconds to wait for the lock of a run."""


@dataclasses.dataclass(frozen=True)
class RunOwner:
    """The unique identity of the process that executes a run.

    Attributes:
        host: Host name.
        boot: The kernel's boot id, or an empty string if unavailable.
        namespace: The process's PID namespace, which differs between containers.
        pid: Process id.
        started: Clock ticks from boot to the start of the process, or an empty string if unavailable.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> RunOwner:
        """Return the identity of the current process."""
        try:
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            namespace = ""
        boot = _read_file("/proc/sys/kernel/random/boot_id")
        return cls(platform.node(), boot, namespace, os.getpid(), _read_start_time(os.getpid()))

    @classmethod
    def from_tag(cls, tag: str) -> RunOwner:
        """Parse the output of :meth:`to_tag`."""
        return cls(**json.loads(tag))

    def to_tag(self) -> str:
        """Return the owner as JSON for a tag."""
        return json.dumps(dataclasses.asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def termination_reason(self, run_id: str, seconds_since_heartbeat: float) -> str | None:
        """Return why this process must have ended, or `None` if it is alive or its state is unknown.

        Args:
            run_id: The run that the process executes. If the operating system does not provide process start times,
                the run's lock is checked instead.
            seconds_since_heartbeat: Seconds since the last heartbeat of the process.
        """
        this_process = RunOwner.this_process()
        if (self.host, self.namespace) != (this_process.host, this_process.namespace):
            has_timed_out = seconds_since_heartbeat > HEARTBEAT_TIMEOUT_SECONDS
            return f"no heartbeat from {self} for {seconds_since_heartbeat / 60:.0f} minutes" if has_timed_out else None
        if self.boot != this_process.boot:
            # A recent heartbeat can only have come from another machine with the same host name.
            is_recent = seconds_since_heartbeat < 2 * HEARTBEAT_INTERVAL_SECONDS
            return None if is_recent else f"{self} no longer exists: the machine was restarted"
        is_alive = _read_start_time(self.pid) == self.started if self.started else _is_locked(run_id)
        return None if is_alive else f"{self} no longer exists: it was killed or ran out of memory"


@contextmanager
def acquire_run(run_id: str) -> Iterator[None]:
    """Hold the lock of a run, which the kernel releases when the process ends for any reason.

    If the machine's temporary folder is not writable, the run proceeds without a lock.

    Raises:
        WinnowError: If another process on this machine holds the lock.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(_lock_file(run_id), timeout=LOCK_TIMEOUT_SECONDS))
        except Timeout as error:
            raise WinnowError(
                f"the run {run_id} is being executed by another process on this machine. Wait until it ends, or stop "
                "that process."
            ) from error
        except OSError:  # run without the lock, which is only an additional safeguard
            pass
        yield


def _is_locked(run_id: str) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(_lock_file(run_id), timeout=0):
            return False
    except Timeout:
        return True


def _lock_file(run_id: str) -> Path:
    """Return the path of a run's lock file in the local temporary folder; locks on network drives are unreliable."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"winnow-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise WinnowError(f"the folder {folder} belongs to another user. Set TMPDIR to a folder that you own.")
    return folder / f"{run_id}.lock"


def _read_start_time(pid: int) -> str:
    """Return a process's start time in clock ticks since boot, or an empty string if the process has ended."""
    # The process name is in parentheses and may contain any character, so count fields after the last parenthesis.
    fields = _read_file(f"/proc/{pid}/stat").rpartition(")")[2].split()
    has_ended = not fields or fields[0] in "ZX"
    return "" if has_ended else fields[19]


def _read_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
