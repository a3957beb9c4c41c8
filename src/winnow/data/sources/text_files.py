"""Plain text files, with one row per line or paragraph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.files import convert_file_errors, find_files, hash_file
from winnow.data.sources.record_values import has_surrogates
from winnow.data.sources.source import RECORD_ERROR_FIELD, TEXT_FIELD, Source
from winnow.errors import WinnowError

_HEADING_PATTERN = re.compile(r"\s*(?P<marks>=(?: ?=)*) [^=].* (?P=marks)\s*")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TextFiles(Source):
    """A source that reads plain text files and skips blank lines.

    Attributes:
        path: A file, a folder (searched recursively for ``.txt`` and ``.text`` files) or a pattern such as
            ``books/*.txt``.
        unit: Whether each row is a ``line`` or a ``paragraph``. A paragraph consists of the lines between two blank
            lines, joined with spaces.
        headings: Whether to ``keep`` or ``drop`` WikiText headings, such as ``= Title =`` and ``= = Section = =``. A
            dropped heading still ends the preceding paragraph.
        encoding: The encoding of the files. The default also removes a byte order mark.
        on_error: ``fail`` raises an error at the first line that cannot be decoded; ``drop`` drops rows with such lines
            and counts these rows in the funnel.
        homepage: The URL of the files.
        licence: The license of the files.
    """

    path: Path
    unit: Literal["line", "paragraph"] = "line"
    headings: Literal["keep", "drop"] = "keep"
    encoding: str = "utf-8-sig"
    on_error: Literal["fail", "drop"] = "fail"
    homepage: str | None = None
    licence: str | None = None

    def read(self) -> pa.Table:
        """Return a table with the column ``text``, and with ``fault`` if any rows are to be dropped."""
        texts: list[str | None] = []
        errors: dict[int, str] = {}
        for path in self._find_files():
            for number, text in self._read_rows(path):
                if self.on_error == "drop" and has_surrogates(text):
                    message = f"the line cannot be decoded with the encoding '{self.encoding}'."
                    errors[len(texts)] = f"broken line {number:,} of {path}: {message}"
                texts.append(None if len(texts) in errors else text)
        table = pa.table([pa.array(texts, TEXT_FIELD.type)], schema=pa.schema([TEXT_FIELD]))
        if errors:
            table = table.append_column(
                RECORD_ERROR_FIELD, pa.array([errors.get(row) for row in range(len(texts))], RECORD_ERROR_FIELD.type)
            )
        return table

    def fingerprint(self) -> str:
        """Return a fingerprint of the files' content and the settings that affect the rows, excluding paths."""
        content = [hash_file(path) for path in self._find_files()]
        return fingerprint("text", content, self.unit, self.headings, self.encoding.lower(), self.on_error)

    def describe(self) -> dict[str, Any]:
        """Return the kind of source, the file, the unit, the homepage and the license."""
        origin = {"homepage": self.homepage, "licence": self.licence}
        return {"kind": "text", "file": self.path.name, "unit": self.unit, **origin}

    def check(self) -> list[WinnowError]:
        """Return an error if a file does not exist or cannot be read."""
        try:
            for path in self._find_files():
                next(self._read_lines(path), None)
        except WinnowError as error:
            return [error]
        return []

    def _find_files(self) -> list[Path]:
        return find_files(self.path, (".txt", ".text"), self.homepage)

    def _read_rows(self, path: Path) -> Iterator[tuple[int, str]]:
        """Yield the number of each row's last line, and the row's text."""
        paragraph: list[str] = []
        number = 0
        for number, line in enumerate(self._read_lines(path), start=1):
            heading = _HEADING_PATTERN.fullmatch(line) is not None
            if self.unit == "paragraph" and line and not heading:
                paragraph.append(line)
                continue
            if paragraph:
                yield number - 1, " ".join(paragraph)
                paragraph = []
            if line and not (heading and self.headings == "drop"):
                yield number, line
        if paragraph:
            yield number, " ".join(paragraph)

    def _read_lines(self, path: Path) -> Iterator[str]:
        errors = "strict" if self.on_error == "fail" else "surrogateescape"
        with convert_file_errors(path, self.encoding), path.open(encoding=self.encoding, errors=errors) as stream:
            for line in stream:
                yield line.strip()
