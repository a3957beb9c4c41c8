"""Texts from files: which files, what is wrong with one, and what names their content."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.formats import SUFFIXES, FormatName, open_batch
from winnow.data.sources.records import Batch, Records, RecordSource
from winnow.errors import WinnowError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Files(RecordSource):
    """CSV, TSV, JSON, JSON lines or Parquet: one file, all of a folder, or those that match a pattern.

    In CSV and TSV every cell is read as text, so ratings stay what they are and the words "nan" and "NA" are words.

    Attributes:
        path: A file, a folder (searched through, hidden files left out) or a pattern such as ``reviews/*.csv``. Several
            files are read in the order of their names.
        format: The format, where the file's ending does not tell it.
        separator: The character between two cells; null for a comma in CSV and a tab in TSV.
        encoding: The encoding of text files; the default also takes a byte order mark away.
    """

    path: Path
    format: FormatName | None = None
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8-sig"

    def batches(self) -> Iterator[Batch]:
        """Yield the records of each file."""
        errors = "strict" if self.on_error == "fail" else "surrogateescape"
        for path in self._files():
            batch = open_batch(path, self._format(path), self.encoding, self.separator, errors)
            yield replace(batch, records=self._told(batch.records, path))

    def fingerprint(self) -> str:
        """Return a fingerprint over the files' bytes and the settings that shape the rows, not their place."""
        files = self._files()
        content = [[digest_of(path), self._format(path)] for path in files]
        return fingerprint("files", content, self.settings(), self.separator, self.encoding.lower())

    def describe(self) -> dict[str, Any]:
        """Return kind, file, columns, homepage and licence."""
        kind = self.format or SUFFIXES.get(self.path.suffix.lower()) or "files"
        origin = {"homepage": self.homepage, "licence": self.licence}
        return {"kind": kind, "file": self.path.name, "text": self.text, **origin}

    def _files(self) -> list[Path]:
        return files_at(self.path, tuple(SUFFIXES), self.homepage)

    def _format(self, path: Path) -> FormatName:
        found = self.format or SUFFIXES.get(path.suffix.lower())
        if found is None:
            known = ", ".join(SUFFIXES)
            raise WinnowError(f"The ending of {path} tells no format; known are {known}. Set `format`.", key="format")
        return found

    def _told(self, records: Records, path: Path) -> Records:
        with told(path, self.encoding):
            yield from records


def files_at(path: Path, suffixes: tuple[str, ...], homepage: str | None) -> list[Path]:
    """Return the file at a place, those of a folder with one of the endings, or those that match a pattern.

    Raises:
        WinnowError: There is none.
    """
    place = path.expanduser()
    if place.is_file():
        return [place]
    if place.is_dir():
        inside = [
            one.relative_to(place) for one in place.rglob("*") if one.suffix.lower() in suffixes and one.is_file()
        ]
        found = [place / one for one in sorted(inside) if not any(part.startswith(".") for part in one.parts)]
        what = f"no file with an ending of {', '.join(suffixes)} in the folder {path}"
    else:
        # Not Path.glob, which wants to be told where the pattern starts.
        found = [Path(one) for one in sorted(glob.glob(str(place), recursive=True)) if Path(one).is_file()]  # noqa: PTH207
        what = f"no file {path}"
    if not found:
        remedy = f"Get it from {homepage} and put it there" if homepage else "Put it there"
        raise WinnowError(f"There is {what} (looked for in {Path.cwd()}). {remedy}, or give its place.", key="path")
    return found


def digest_of(path: Path) -> str:
    """Return a hash of a file's bytes."""
    with told(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def told(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Turn the faults of opening and decoding a file into words."""
    try:
        yield
    except UnicodeDecodeError as fault:
        raise _undecodable(path, encoding) from fault
    except LookupError as fault:
        raise WinnowError(
            f"There is no encoding '{encoding}'. Common ones are utf-8-sig, cp1252 and latin-1.", key="encoding"
        ) from fault
    except OSError as fault:
        raise WinnowError(f"Cannot read {path}: {fault.strerror}.", key="path") from fault


def _undecodable(path: Path, encoding: str) -> WinnowError:
    try:
        path.read_bytes().decode(encoding)
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        what = f"the byte 0x{fault.object[fault.start]:02x} on line {line} is not {encoding}"
    else:
        what = f"it is not {encoding}"
    return WinnowError(
        f"Cannot decode {path}: {what}. Mend the file or give its encoding (often cp1252).", key="encoding"
    )
