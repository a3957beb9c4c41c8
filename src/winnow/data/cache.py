"""Publish cache folders atomically, and verify them against file digests before use."""

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

from winnow.errors import WinnowError
from winnow.fsync import flush_to_disk

DIGESTS_FILE: Final = "digests.json"
"""The name of the file that lists the SHA-256 digests of all other files in a published folder."""

_FileStates = tuple[tuple[str, int, int, int], ...]

_verified_folders: dict[Path, _FileStates] = {}
"""The file states of each folder when this process verified the folder. Unchanged folders are not hashed again."""


@contextmanager
def publish_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary path for a new folder, then publish the new folder at ``folder`` atomically.

    Before the new folder is published, a file with the digests of all other files is added to the folder.

    If several processes create the same folder, the first one publishes it and the others discard their copies. The
    content must therefore depend only on the name of ``folder``. If the ``with`` block raises an exception, nothing is
    published.

    Raises:
        WinnowError: If the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _write_error(folder, error) from error
    try:
        draft = temporary / folder.name
        yield draft
        if not folder.exists():
            _write_digests(draft)
            _publish_draft(draft, folder)
    except OSError as error:
        raise _write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_intact(folder: Path) -> bool:
    """Return whether a folder exists and all of its files match their recorded digests.

    A damaged folder is removed, and a message is printed to stderr. The caller can then create the folder again.
    """
    if not folder.exists():
        return False
    if _describe_damage(folder) is None:
        return True
    from filelock import FileLock

    with FileLock(folder.with_name(f".{folder.name}.lock")):
        error = _describe_damage(folder) if folder.exists() else None
        if error is not None:  # still damaged, so no other process has replaced the folder
            print(f"winnow: the cached result {folder} is damaged ({error}); recreating it.", file=sys.stderr)
            shutil.rmtree(folder)
        return folder.exists()


def unreadable_cache_error(path: Path, error: Exception) -> WinnowError:
    """Return the error for a cached result that cannot be read."""
    return WinnowError(
        f"cannot read the cached result {path} ({error}). Delete this path; the result is then computed again.",
        key="cache_dir",
    )


def _write_digests(draft: Path) -> None:
    """Write a file with the digests of a folder's files, and flush all files to disk."""
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    digests = {path.relative_to(draft).as_posix(): _compute_digest(path) for path in files}
    (draft / DIGESTS_FILE).write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")
    for path in (*files, draft / DIGESTS_FILE, draft):
        flush_to_disk(path)


def _publish_draft(draft: Path, folder: Path) -> None:
    try:
        os.replace(draft, folder)  # noqa: PTH105 - Path.replace could be mistaken for string replacement
        flush_to_disk(folder.parent)
    except OSError:
        if not folder.exists():  # an existing folder was published by another process
            raise


def _describe_damage(folder: Path) -> str | None:
    """Return a description of the damage to a published folder, or ``None`` if the folder is intact."""
    try:
        digests = json.loads((folder / DIGESTS_FILE).read_text(encoding="utf-8"))
        states = _read_file_states(folder, [*digests, DIGESTS_FILE])
        if _verified_folders.get(folder) == states:
            return None
        for name, digest in digests.items():
            if _compute_digest(folder / name) != digest:
                return f"{name} does not match its digest"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"the digests cannot be read: {error}"
    _verified_folders[folder] = states
    return None


def _read_file_states(folder: Path, names: list[str]) -> _FileStates:
    states = ((name, (folder / name).stat()) for name in names)
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)


def _compute_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_error(target: Path, error: OSError) -> WinnowError:
    return WinnowError(
        f"cannot write {target}: {error.strerror or error}. Choose a writable folder with enough free space.",
        key="cache_dir",
    )
