"""The lock of a cell's folder: two processes that train one cell would overwrite each other's checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from winnow.errors import WinnowError


class CellTakenError(WinnowError):
    """Another process trains the cell."""


@contextmanager
def hold_cell(folder: Path, wait_seconds: float = 1.0) -> Iterator[None]:
    """Hold a cell's folder; the kernel releases it when the process ends, however it ends.

    Files that a killed process was still writing are removed. A study holds a folder for a moment to look at it, so
    a short wait is right.

    Raises:
        CellTakenError: Another process holds it.
        WinnowError: The folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=wait_seconds, poll_interval=0.02)
        lock.acquire()
    except Timeout as error:
        told = f"another process is training this cell in {folder}."
        raise CellTakenError(f"{told} Wait until it ends; the same command then finds the cell finished.") from error
    except OSError as error:
        told = f"nothing can be written to {str(folder)!r} ({error.strerror})."
        raise WinnowError(
            f"{told} Make room, or choose another folder with output_dir=FOLDER.", "output_dir"
        ) from error
    try:
        for draft in folder.glob("*.draft"):
            draft.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def is_taken(folder: Path) -> bool:
    """Return whether another process holds a cell's folder."""
    try:
        with hold_cell(folder, wait_seconds=0):
            return False
    except CellTakenError:
        return True
