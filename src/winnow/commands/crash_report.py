"""Report unexpected exceptions in one paragraph, with the traceback in a log file."""

from __future__ import annotations

import os
import tempfile
import traceback
from datetime import datetime
from pathlib import Path

from winnow.commands.error_output import print_error
from winnow.errors import WinnowError


def report_crash(error: BaseException, command: str, output_dir: Path | None = None) -> None:
    """Print an unexpected exception as one paragraph, and write its traceback to a log file.

    Args:
        error: The exception.
        command: The command that raised the exception, such as `train`.
        output_dir: The folder for results, in which the log file is written; `None` if the exception was raised before
            the configuration was composed. If it is `None` or not writable, the log file is written to the system's
            folder for temporary files.
    """
    text = " ".join(str(error).split())
    summary = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    log = _write_traceback(error, command, output_dir)
    traceback_note = (
        f"Report it, and include the traceback in {log}."
        if log is not None
        else "Report it. The traceback could not be written to a file."
    )
    print_error(
        WinnowError(
            f"unexpected error in winnow {command}: {summary.rstrip('.')}. This is a bug in Winnow or in a package "
            f"that it uses. {traceback_note}"
        )
    )


def _write_traceback(error: BaseException, command: str, output_dir: Path | None) -> Path | None:
    """Write a traceback to the first writable folder, and return the file's path; `None` if no folder is writable."""
    content = f"winnow {command}\n{''.join(traceback.format_exception(error))}"
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
