"""Cached results: folders that appear whole or not at all, and whose files are checked when they are opened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from winnow.disk import flush_to_disk
from winnow.errors import WinnowError

DIGESTS: Final = "digests.json"
"""File of a published folder: the SHA-256 digest of each of its other files by name."""

_Stamp = tuple[tuple[str, int, int, int], ...]

_checked: dict[Path, _Stamp] = {}
"""Folders that this process has checked, each with the state of its files then: they are read once, not per cell."""


@contextmanager
def published(folder: Path) -> Iterator[Path]:
    """Yield a path to create a folder at, and move it to ``folder`` in one step at the end, with digests of its files.

    Of several processes that make the same thing at once one wins and the others discard their copy, so
    what is published must depend on the name of ``folder`` alone. Nothing is published if the block raises.

    Raises:
        WinnowError: The place cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as fault:
        raise _unwritable(folder, fault) from fault
    try:
        draft = workplace / folder.name
        yield draft
        if not folder.exists():
            _seal(draft)
            _move(draft, folder)
    except OSError as fault:
        raise _unwritable(folder, fault) from fault
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def intact(folder: Path) -> bool:
    """Return whether a folder is published and its files equal their digests.

    A damaged folder is removed, with a line on stderr, so that the caller makes it again.
    """
    if not folder.exists():
        return False
    if _fault(folder) is None:
        return True
    from filelock import FileLock

    with FileLock(folder.with_name(f".{folder.name}.lock")):
        fault = _fault(folder) if folder.exists() else None
        if fault is not None:  # no other process has replaced it in the meantime
            print(f"winnow: the cached result {folder} is damaged ({fault}); it is made again.", file=sys.stderr)
            shutil.rmtree(folder)
        return folder.exists()


def damaged(path: Path, fault: Exception) -> WinnowError:
    """Return the error for a cached result that cannot be read back."""
    return WinnowError(
        f"The cached result {path} cannot be read ({fault}). Delete it, and it will be made again.",
        key="cache_dir",
    )


def _seal(draft: Path) -> None:
    """Add the digests of a folder's files, and write all of it to the disk."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    digests = {path.relative_to(draft).as_posix(): _digest(path) for path in files}
    (draft / DIGESTS).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    for path in (*files, draft / DIGESTS, draft):
        flush_to_disk(path)


def _move(draft: Path, folder: Path) -> None:
    try:
        os.replace(draft, folder)  # noqa: PTH105 - Path.replace reads as if it edited the draft
        flush_to_disk(folder.parent)
    except OSError:
        if not folder.exists():  # a folder that another process published first is no fault
            raise


def _fault(folder: Path) -> str | None:
    """Return what is wrong with a published folder."""
    try:
        digests = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
        stamp = _stamp(folder, [*digests, DIGESTS])
        if _checked.get(folder) == stamp:
            return None
        for name, digest in digests.items():
            if _digest(folder / name) != digest:
                return f"{name} does not match its digest"
    except FileNotFoundError as fault:
        return f"{Path(fault.filename).name} is missing"
    except (OSError, ValueError, TypeError, AttributeError) as fault:
        return f"its digests cannot be read: {fault}"
    _checked[folder] = stamp
    return None


def _stamp(folder: Path, names: list[str]) -> _Stamp:
    found = ((name, (folder / name).stat()) for name in names)
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in found)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unwritable(target: Path, fault: OSError) -> WinnowError:
    return WinnowError(
        f"Cannot write {target}: {fault.strerror or fault}. Choose a folder that is writable and has room.",
        key="cache_dir",
    )
