"""Flushes files to disk, so that they survive a power failure."""

from __future__ import annotations

import os
from pathlib import Path


def flush_to_disk(path: Path) -> None:
    """Flush a file, or the entries of a folder, from the page cache to the disk.

    Raises:
        OSError: The disk cannot be written to.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
