"""Find, open and hash the files that texts are read from."""

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
from winnow.data.sources.formats import FORMATS_BY_SUFFIX, FormatName, open_record_batch
from winnow.data.sources.records import NumberedRecords, RecordBatch, RecordSource
from winnow.errors import WinnowError


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Files(RecordSource):
    """A source that reads CSV, TSV, JSON, JSON Lines or Parquet files.

    All cells of CSV and TSV files are read as text, so words such as "nan" and "NA" are not treated as null.

    Attributes:
        path: A file, a folder (searched recursively, ignoring hidden files) or a pattern such as ``reviews/*.csv``.
            Multiple files are read in alphabetical order.
        format: The file format; null infers it from the file extension.
        separator: The delimiter between cells; null uses a comma for CSV and a tab for TSV.
        encoding: The encoding of text files. The default also removes a byte order mark.
    """

    path: Path
    format: FormatName | None = None
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: str = "utf-8-sig"

    def batches(self) -> Iterator[RecordBatch]:
        """Yield one batch of records per file."""
        errors = "strict" if self.on_error == "fail" else "surrogateescape"
        for path in self._find_files():
            batch = open_record_batch(path, self._detect_format(path), self.encoding, self.separator, errors)
            yield replace(batch, records=self._convert_read_errors(batch.records, path))

    def fingerprint(self) -> str:
        """Return a fingerprint of the files' content and the settings that affect the rows, excluding paths."""
        files = self._find_files()
        content = [[hash_file(path), self._detect_format(path)] for path in files]
        return fingerprint("files", content, self.settings(), self.separator, self.encoding.lower())

    def describe(self) -> dict[str, Any]:
        """Return the kind of source, the file, the text columns, the homepage and the license."""
        kind = self.format or FORMATS_BY_SUFFIX.get(self.path.suffix.lower()) or "files"
        origin = {"homepage": self.homepage, "licence": self.licence}
        return {"kind": kind, "file": self.path.name, "text": self.text, **origin}

    def _find_files(self) -> list[Path]:
        return find_files(self.path, tuple(FORMATS_BY_SUFFIX), self.homepage)

    def _detect_format(self, path: Path) -> FormatName:
        name = self.format or FORMATS_BY_SUFFIX.get(path.suffix.lower())
        if name is None:
            raise WinnowError(
                f"the file {path} has an unknown extension. Allowed: {', '.join(FORMATS_BY_SUFFIX)}. Rename the "
                "file, or set `format`.",
                key="format",
            )
        return name

    def _convert_read_errors(self, records: NumberedRecords, path: Path) -> NumberedRecords:
        with convert_file_errors(path, self.encoding):
            yield from records


def find_files(path: Path, suffixes: tuple[str, ...], homepage: str | None) -> list[Path]:
    """Return the files that a path refers to, in alphabetical order.

    Args:
        path: A file, a folder that is searched recursively, or a pattern.
        suffixes: The suffixes of the files to return from a folder.
        homepage: A URL to suggest in the error message if no file is found.

    Raises:
        WinnowError: If no file is found.
    """
    expanded = path.expanduser()
    with convert_file_errors(path):  # an OSError is raised, for example, if the name is too long
        is_file, is_folder = expanded.is_file(), expanded.is_dir()
    if is_file:
        return [expanded]
    if is_folder:
        names = [
            file.relative_to(expanded)
            for file in expanded.rglob("*")
            if file.suffix.lower() in suffixes and file.is_file()
        ]
        files = [expanded / name for name in sorted(names) if not any(part.startswith(".") for part in name.parts)]
        problem = f"no file with the extension {', '.join(suffixes)} in the folder {path}"
    else:
        # Path.glob expects the folder and the pattern as separate arguments, but `path` contains both.
        matches = sorted(glob.glob(str(expanded), recursive=True))  # noqa: PTH207
        files = [Path(match) for match in matches if Path(match).is_file()]
        problem = f"no file {path}"
    if not files:
        fix = f"Download it from {homepage}" if homepage else "Create it"
        raise WinnowError(f"there is {problem} (current folder: {Path.cwd()}). {fix}, or set another path.", key="path")
    return files


def hash_file(path: Path) -> str:
    """Return the BLAKE2b hash of a file's content (32 hex digits)."""
    with convert_file_errors(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def convert_file_errors(path: Path, encoding: str = "utf-8") -> Iterator[None]:
    """Convert exceptions raised while opening or decoding a file to :class:`WinnowError`."""
    try:
        yield
    except UnicodeError as error:  # the base class, because some codecs do not raise UnicodeDecodeError
        raise _build_decoding_error(path, encoding) from error
    except LookupError as error:
        raise WinnowError(
            f"unknown encoding '{encoding}'. Use a Python encoding, such as utf-8-sig, cp1252 or latin-1.",
            key="encoding",
        ) from error
    except OSError as error:
        raise WinnowError(
            f"cannot read {str(path)[:200]}: {error.strerror}. Check the file and its permissions.", key="path"
        ) from error


def _build_decoding_error(path: Path, encoding: str) -> WinnowError:
    try:
        path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        cause = f"the byte 0x{error.object[error.start]:02x} on line {line} is not valid {encoding}"
    except UnicodeError as error:
        cause = str(error)
    else:
        cause = f"the content is not valid {encoding}"
    return WinnowError(
        f"cannot decode {path}: {cause}. Fix the file, or set `encoding` to the actual encoding (often cp1252).",
        key="encoding",
    )
