"""Locks a cell's folder, so that two processes cannot overwrite each other's checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from winnow.errors import WinnowError


class CellLockedError(WinnowError):
    """Raised if another process is training the cell."""


@contextmanager
def lock_cell(folder: Path, wait_seconds: float = 1.0) -> Iterator[None]:
    """Lock a cell's folder. The kernel releases the lock when the process ends, even if it is killed.

    Temporary files left behind by a killed process are removed. The default timeout is short, because a
    study locks the folder only briefly when it reads the cell's status.

    Raises:
        CellLockedError: If another process holds the lock.
        WinnowError: If the folder is not writable.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=wait_seconds, poll_interval=0.02)
        lock.acquire()
    except Timeout as error:
        raise CellLockedError(
            f"another process is training this cell in {folder}. Wait until it finishes, then run the same "
            "command again."
        ) from error
    except OSError as error:
        raise WinnowError(
            f"cannot write to {str(folder)!r} ({error.strerror}). Free disk space, or choose another folder with "
            "output_dir=FOLDER.",
            "output_dir",
        ) from error
    try:
        for draft in folder.glob("*.draft"):
            draft.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def is_cell_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a cell's folder."""
    try:
        with lock_cell(folder, wait_seconds=0):
            return False
    except CellLockedError:
        return True
