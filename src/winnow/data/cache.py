"""Writing results to disk so that parallel processes never see half of one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from winnow.errors import WinnowError


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """Give a path to write a file or a folder to, and move it to ``target`` in one step at the end.

    Of several processes that make the same thing at once one wins and the others throw their copy away, so
    what is published must depend on the name of ``target`` alone. Nothing is published if the block raises.

    Raises:
        WinnowError: The place cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as fault:
        raise _unwritable(target, fault) from fault
    try:
        draft = workplace / target.name
        yield draft
        if not target.exists():
            _move(draft, target)
    except OSError as fault:
        raise _unwritable(target, fault) from fault
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _move(draft: Path, target: Path) -> None:
    try:
        os.replace(draft, target)  # noqa: PTH105 - Path.replace reads as if it edited the draft
    except OSError:
        if not target.exists():  # a folder that another process published first is no fault
            raise


def damaged(path: Path, fault: Exception) -> WinnowError:
    """Return the error for a cached result that cannot be read back."""
    return WinnowError(
        f"The cached result {path} cannot be read ({fault}). Delete it, and it will be made again.",
        key="cache_dir",
    )


def _unwritable(target: Path, fault: OSError) -> WinnowError:
    return WinnowError(
        f"Cannot write {target}: {fault.strerror or fault}. Choose a folder that is writable and has room.",
        key="cache_dir",
    )
