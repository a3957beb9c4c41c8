"""Plain text files, a line or a paragraph a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.sources.files import digest_of, files_at, told
from winnow.data.sources.records import holds_foreign_bytes
from winnow.data.sources.source import FAULT, TEXT, Source
from winnow.errors import WinnowError

_HEADING = re.compile(r"\s*(?P<marks>=(?: ?=)*) [^=].* (?P=marks)\s*")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class TextFiles(Source):
    """Plain text: one file, all of a folder, or those that match a pattern. Blank lines are no rows.

    Attributes:
        path: A file, a folder (its ``.txt`` and ``.text`` files) or a pattern such as ``books/*.txt``.
        unit: Whether a row is a ``line``, or a ``paragraph``: the lines between two blank ones, joined by a space.
        headings: What becomes of lines like ``= Title =`` and ``= = Section = =``, as WikiText marks its headings. A
            heading that is dropped still ends a paragraph.
        encoding: The encoding; the default also takes a byte order mark away.
        on_error: ``fail`` at the first line with bytes of another encoding, or ``drop`` the row that it is in and count
            it in the corpus' funnel.
        homepage: Where a user gets the files.
        licence: Their licence.
    """

    path: Path
    unit: Literal["line", "paragraph"] = "line"
    headings: Literal["keep", "drop"] = "keep"
    encoding: str = "utf-8-sig"
    on_error: Literal["fail", "drop"] = "fail"
    homepage: str | None = None
    licence: str | None = None

    def read(self) -> pa.Table:
        """Return the rows as ``text``, and ``fault`` where some were dropped."""
        texts: list[str | None] = []
        faults: dict[int, str] = {}
        for path in self._files():
            for number, text in self._rows(path):
                if self.on_error == "drop" and holds_foreign_bytes(text):
                    faults[len(texts)] = f"Broken line {number:,} of {path}: its row holds bytes of another encoding."
                texts.append(None if len(texts) in faults else text)
        table = pa.table([pa.array(texts, TEXT.type)], schema=pa.schema([TEXT]))
        if faults:
            table = table.append_column(FAULT, pa.array([faults.get(place) for place in range(len(texts))], FAULT.type))
        return table

    def fingerprint(self) -> str:
        """Return a fingerprint over the files' bytes and the settings that shape the rows, not their place."""
        content = [digest_of(path) for path in self._files()]
        return fingerprint("text", content, self.unit, self.headings, self.encoding.lower(), self.on_error)

    def describe(self) -> dict[str, Any]:
        """Return kind, file, unit, homepage and licence."""
        origin = {"homepage": self.homepage, "licence": self.licence}
        return {"kind": "text", "file": self.path.name, "unit": self.unit, **origin}

    def check(self) -> list[WinnowError]:
        """Return a fault if there is no such file, or one that cannot be read."""
        try:
            for path in self._files():
                next(self._lines(path), None)
        except WinnowError as fault:
            return [fault]
        return []

    def _files(self) -> list[Path]:
        return files_at(self.path, (".txt", ".text"), self.homepage)

    def _rows(self, path: Path) -> Iterator[tuple[int, str]]:
        """Yield each row with the number of its last line."""
        paragraph: list[str] = []
        number = 0
        for number, line in enumerate(self._lines(path), start=1):
            heading = _HEADING.fullmatch(line) is not None
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

    def _lines(self, path: Path) -> Iterator[str]:
        errors = "strict" if self.on_error == "fail" else "surrogateescape"
        with told(path, self.encoding), path.open(encoding=self.encoding, errors=errors) as stream:
            for line in stream:
                yield line.strip()
