"""Which process a run belongs to, and whether that process still lives.

A killed process says nothing to the store, so its run would stay RUNNING for ever. Each run therefore carries the
process that works on it. On the same machine that process is looked up; a process id alone could meanwhile be another
program's, so boot and start time must agree too. Of another machine only the last sign of life is known.
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

HEARTBEAT_SECONDS: Final = 60
"""Between two signs of life of a run."""

HEARTBEAT_TIMEOUT_SECONDS: Final = 900
"""Without a sign of life after which a run of another machine counts as dead; more than clocks may differ."""

LOCK_TIMEOUT_SECONDS: Final = 10
"""How long a run that another process holds is waited for."""


@dataclasses.dataclass(frozen=True)
class RunOwner:
    """A process, named so that no other is taken for it.

    Attributes:
        host: Name of the machine.
        boot: The kernel's id of this boot, empty where there is none.
        namespace: Where process ids count: a container has its own.
        pid: Process id.
        started: MonotonicClock ticks from boot to the start of the process, empty where the system does not tell.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> RunOwner:
        """Return the process that calls."""
        try:
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            namespace = ""
        boot = _read("/proc/sys/kernel/random/boot_id")
        return cls(platform.node(), boot, namespace, os.getpid(), _started(os.getpid()))

    @classmethod
    def from_tag(cls, tag: str) -> RunOwner:
        """Read what :meth:`to_tag` wrote."""
        return cls(**json.loads(tag))

    def to_tag(self) -> str:
        """Return the owner as the text of a tag."""
        return json.dumps(dataclasses.asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def termination_reason(self, run_id: str, silent_seconds: float) -> str | None:
        """Say how this process is known to be gone; `None` where it lives, or where that cannot be told.

        Args:
            run_id: The run it works on, whose lock is asked where the system does not tell of processes.
            silent_seconds: Time since its last sign of life.
        """
        here = RunOwner.this_process()
        if (self.host, self.namespace) != (here.host, here.namespace):
            silent = silent_seconds > HEARTBEAT_TIMEOUT_SECONDS
            return f"{self} has given no sign of life for {silent_seconds / 60:.0f} minutes" if silent else None
        if self.boot != here.boot:
            # A sign of life this young comes from another machine of the same name.
            young = silent_seconds < 2 * HEARTBEAT_SECONDS
            return None if young else f"{self} is gone: the machine was started anew"
        lives = _started(self.pid) == self.started if self.started else _is_claimed(run_id)
        return None if lives else f"{self} is gone: killed from outside, or out of memory"


@contextmanager
def acquire_run(run_id: str) -> Iterator[None]:
    """Hold a run as this process's own; the kernel lets go when the process ends, however it ends.

    Where the machine's temporary folder cannot be written, the run goes on without a lock.

    Raises:
        WinnowError: Another process of this machine holds it.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(_lock_file(run_id), timeout=LOCK_TIMEOUT_SECONDS))
        except Timeout as error:
            told = f"the run {run_id} is being worked on by another process of this machine."
            raise WinnowError(f"{told} Wait until it ends, or stop it.") from error
        except OSError:  # no lock can be made here, and the run goes on without one
            pass
        yield


def _is_claimed(run_id: str) -> bool:
    from filelock import FileLock, Timeout

    try:
        with FileLock(_lock_file(run_id), timeout=0):
            return False
    except Timeout:
        return True


def _lock_file(run_id: str) -> Path:
    """Return the lock of a run: in the machine's own temporary folder, since locks on shared drives lie."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"winnow-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise WinnowError(f"the folder {folder} belongs to another user. Set TMPDIR to a folder of your own.")
    return folder / f"{run_id}.lock"


def _started(pid: int) -> str:
    """Return when a process began, in ticks since boot; empty where it is gone, ended or cannot be looked up."""
    # The name stands in brackets and may hold anything, so fields are counted from the last bracket on.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    ended = not fields or fields[0] in "ZX"
    return "" if ended else fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
