"""Verify the checksums in a checkpoint file, because ``torch.load`` does not verify them."""

from __future__ import annotations

import zipfile
from pathlib import Path


def verify_checksums(path: Path) -> None:
    """Verify the checksum of every tensor in a checkpoint.

    Raises:
        ValueError: If a checksum does not match.
        zipfile.BadZipFile: If the file is not a zip archive.
        OSError: If the file cannot be read.
    """
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} does not match its checksum")
