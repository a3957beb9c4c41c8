"""Flush files to disk, so that they survive a power failure."""

from __future__ import annotations

import os
from pathlib import Path


def flush_to_disk(path: Path) -> None:
    """Flush a file, or a folder's directory entries, from the page cache to disk.

    Raises:
        OSError: If the disk cannot be written to.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
