"""The machine's processor, and the user's folder for results that depend only on the machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "WINNOW_CACHE_DIR"
"""The environment variable that replaces the default cache folder of the user."""


def user_cache_folder() -> Path:
    """Return the user's cache folder for Winnow, which all output folders share. The folder may not exist.

    The default is ``~/.cache/winnow`` (or ``$XDG_CACHE_HOME/winnow``) on Linux, ``~/Library/Caches/winnow`` on macOS
    and the folder ``winnow`` of the local application data on Windows.
    """
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "winnow"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "winnow" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "winnow"


def processor_name() -> str:
    """Return the processor's model name; on Linux, `platform.processor` does not return it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
