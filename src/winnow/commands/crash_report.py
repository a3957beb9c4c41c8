"""Describe unexpected exceptions in one paragraph, with the traceback in a log file."""

from __future__ import annotations

import os
import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from winnow.errors import WinnowError
from winnow.tracking.store_errors import build_store_error, is_store_error


def build_crash_error(error: Exception, command: str, output_dir: Path | None, store_uri: str | None) -> WinnowError:
    """Return an error that describes an unexpected exception in one paragraph.

    If the store stopped responding, the error states how to fix this. Any other exception is a bug, so its traceback is
    written to a log file.

    Args:
        error: The exception.
        command: The command that raised the exception, such as `winnow train`.
        output_dir: The folder for results, in which the log file is written; `None` if the exception was raised before
            the configuration was composed. If it is `None` or not writable, the log file is written to the system's
            folder for temporary files.
        store_uri: The address of the store; `None` if the exception was raised before the configuration was composed.
    """
    if store_uri is not None and is_store_error(error):
        return build_store_error(store_uri, error).with_prefix("tracking")
    text = " ".join(str(error).split())
    summary = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    log = _write_traceback(error, command, output_dir)
    traceback_note = (
        f"Report it, and include the traceback in {log}."
        if log is not None
        else "Report it. The traceback could not be written to a file."
    )
    return WinnowError(
        f"unexpected error in {command}: {summary.rstrip('.')}. This is a bug in Winnow or in a package that it uses. "
        f"{traceback_note}"
    )


def _write_traceback(error: Exception, command: str, output_dir: Path | None) -> Path | None:
    """Write a traceback to the first writable folder, and return the file's path; `None` if no folder is writable."""
    content = f"{command}\n{''.join(traceback.format_exception(error))}"
    name = f"winnow-error-{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    folders = [output_dir / "errors"] if output_dir is not None else []
    for folder in (*folders, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return (folder / name).absolute()
    return None
