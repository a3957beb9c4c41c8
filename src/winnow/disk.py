"""Writes that a power failure cannot tear."""

from __future__ import annotations

import os
from pathlib import Path


def flush_to_disk(path: Path) -> None:
    """Write a file, or the entries of a folder, from the system's memory to the disk.

    Raises:
        OSError: The disk cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
