"""Texts from a CSV file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.source import LABEL, TEXT, Source
from winnow.errors import WinnowError, did_you_mean

_LONGEST_CELL = 2**30  # characters; the csv module's own limit of 131,072 is shorter than some documents
_LARGEST_LABEL = 2**53  # above it a float no longer holds every whole number


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CsvFile(Source):
    """A CSV file with a header, one row a text.

    Every cell is read as text, so ratings stay what they are and the words "nan" and "NA" are words. Only a
    cell without anything but white space is null. A row whose text columns are all null has a null text;
    otherwise its filled columns are joined.

    Attributes:
        path: The file.
        text: The columns that make the text, in order.
        joiner: What stands between two columns.
        label: A column of whole numbers, if there is one.
        separator: The character between two cells.
        encoding: The file's encoding; the default also takes a byte order mark away.
        homepage: Where a user gets the file.
        licence: Its licence.
    """

    path: Path
    text: Annotated[list[str], Field(min_length=1)]
    joiner: str = " "
    label: str | None = None
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    homepage: str | None = None
    licence: str | None = None

    def read(self) -> pa.Table:
        """Return ``text`` and, where a label column is named, ``label``, in the order of the file."""
        texts: list[str | None] = []
        labels: list[int | None] = []
        with closing(self._rows()) as rows:
            _, header = next(rows)
            places = [self._place(column, header, "text") for column in self.text]
            label_place = None if self.label is None else self._place(self.label, header, "label")
            for line, cells in rows:
                if len(cells) != len(header):
                    raise self._broken(line, f"it has {len(cells)} cells where the header has {len(header)}")
                texts.append(self.joiner.join(cells[i] for i in places if cells[i].strip()) or None)
                if label_place is not None:
                    labels.append(self._whole_number(cells[label_place], line))
        columns = [pa.array(texts, TEXT.type)] + ([] if label_place is None else [pa.array(labels, LABEL.type)])
        return pa.table(columns, schema=pa.schema([TEXT] if label_place is None else [TEXT, LABEL]))

    def fingerprint(self) -> str:
        """Return a fingerprint over the file's bytes and the settings that shape its rows, not its place."""
        with self._told(), self.path.expanduser().open("rb") as stream:
            content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        return fingerprint("csv", content, self.text, self.joiner, self.label, self.separator, self.encoding.lower())

    def describe(self) -> dict[str, Any]:
        """Return kind, file, columns, homepage and licence."""
        return {
            "kind": "csv",
            "file": self.path.name,
            "text": self.text,
            "homepage": self.homepage,
            "licence": self.licence,
        }

    def check(self) -> list[WinnowError]:
        """Return a fault if the file is missing or cannot be read, and one for each column that it lacks."""
        try:
            with closing(self._rows()) as rows:
                _, header = next(rows)
        except WinnowError as fault:
            return [fault]
        wanted = [(column, "text") for column in self.text]
        if self.label is not None:
            wanted.append((self.label, "label"))
        faults = []
        for column, key in wanted:
            try:
                self._place(column, header, key)
            except WinnowError as fault:
                faults.append(fault)
        return faults

    def _rows(self) -> Generator[tuple[int, list[str]]]:
        """Yield the header, then every row that is not blank, each with the number of its first line."""
        line = 1
        blank = True
        previous_limit = csv.field_size_limit(_LONGEST_CELL)
        try:
            with self._told(), self.path.expanduser().open(encoding=self.encoding, newline="") as stream:
                reader = csv.reader(stream, delimiter=self.separator, strict=True)
                for cells in reader:
                    if cells:
                        blank = False
                        yield line, cells
                    line = reader.line_num + 1
        except csv.Error as fault:
            unclosed = str(fault) == "unexpected end of data"
            raise self._broken(line, "a quote in it is never closed" if unclosed else str(fault)) from fault
        finally:
            csv.field_size_limit(previous_limit)
        if blank:
            raise WinnowError(f"The file {self.path} is empty; it needs a header and rows.", key="path")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the faults of opening and decoding into words."""
        try:
            yield
        except FileNotFoundError as fault:
            remedy = f"Get it from {self.homepage} and put it there" if self.homepage else "Put it there"
            raise WinnowError(
                f"There is no file {self.path} (looked for in {Path.cwd()}). {remedy}, or give its place.",
                key="path",
            ) from fault
        except UnicodeDecodeError as fault:
            raise self._undecodable() from fault
        except LookupError as fault:
            raise WinnowError(
                f"There is no encoding '{self.encoding}'. Common ones are utf-8-sig, cp1252 and latin-1.",
                key="encoding",
            ) from fault
        except OSError as fault:
            raise WinnowError(f"Cannot read {self.path}: {fault.strerror}.", key="path") from fault

    def _undecodable(self) -> WinnowError:
        content = self.path.expanduser().read_bytes()
        try:
            content.decode(self.encoding)
        except UnicodeDecodeError as fault:
            line = fault.object[: fault.start].count(b"\n") + 1
            what = f"the byte 0x{fault.object[fault.start]:02x} on line {line} is not {self.encoding}"
        else:
            what = f"it is not {self.encoding}"
        return WinnowError(
            f"Cannot decode {self.path}: {what}. Mend the file or give its encoding (often cp1252).",
            key="encoding",
        )

    def _place(self, column: str, header: list[str], key: str) -> int:
        if header.count(column) == 1:
            return header.index(column)
        if column in header:
            found = f"has {header.count(column)} columns called '{column}'"
        else:
            found = f"has no column '{column}'.{did_you_mean(column, header)}"
        names = ", ".join(f"'{name}'" for name in header)
        raise WinnowError(f"The file {self.path} {found.rstrip('.')}. Its columns are {names}.", key=key)

    def _whole_number(self, cell: str, line: int) -> int | None:
        if not cell.strip():
            return None
        with suppress(ValueError):
            number = float(cell)
            if number.is_integer() and abs(number) <= _LARGEST_LABEL:
                return int(number)
        raise WinnowError(
            f"The label on line {line} of {self.path} is '{cell}'; a label is a whole number. "
            f"Name another column than '{self.label}', or null for none.",
            key="label",
        )

    def _broken(self, line: int, what: str) -> WinnowError:
        return WinnowError(
            f"The row that starts on line {line} of {self.path} is broken: {what}. "
            f"Mend its quotes and separators; cells are separated by '{self.separator}'.",
            key="path",
        )
