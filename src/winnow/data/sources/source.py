"""The base class of all sources of texts, and mixtures of sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.untrusted_text import SafeName

TEXT_FIELD = pa.field("text", pa.string())
LABEL_FIELD = pa.field("label", pa.int64())
GROUP_COLUMN = "group"
SOURCE_FIELD = pa.field("source", pa.string())
RECORD_ERROR_FIELD = pa.field("fault", pa.string())
FLAGS_FIELD = pa.field("flags", pa.string())
RESERVED_COLUMNS = ("row_id", "text", "source", "split", "label", "fault", "flags")
"""Column names that are reserved for the corpus, so additional columns of a source cannot use them."""


class Source(ABC):
    """A source of texts. Constructing a source does not access any files."""

    @abstractmethod
    def read(self) -> pa.Table:
        """Return all rows: ``text`` (string, may be null), ``label`` (int64 or string) if there are labels, and others.

        A mixture adds ``source`` (string). If broken records are to be dropped, ``fault`` (string) holds the error
        message of each broken record and is null for all other rows.

        Raises:
            WinnowError: If the source cannot be read. The error's key is relative to the configuration of this source.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a fingerprint (16 hex digits) that changes whenever the rows returned by :meth:`read` change."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return a description of the data, such as its kind, file, homepage and license."""

    @property
    def has_groups(self) -> bool:
        """Whether the rows have the column ``group``, whose values determine which rows stay in the same split."""
        return False

    def check(self) -> list[WinnowError]:
        """Return the errors that can be detected without reading all rows."""
        return []


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mixture(Source):
    """Several named sources, concatenated in order. The column ``source`` holds the name of each row's source.

    Attributes:
        sources: The sources, by name.
    """

    sources: dict[SafeName, InstanceOf[Source]]

    def __post_init__(self) -> None:
        if not self.sources:
            raise WinnowError(
                "expected at least one source, got none. Add one: +dataset/source@dataset.source.sources.NAME=csv.",
                key="sources",
            )

    def read(self) -> pa.Table:
        """Return the rows of all sources. Columns that a source lacks are null in its rows."""
        tables = []
        for name, source in self.sources.items():
            try:
                table = source.read()
            except WinnowError as error:
                raise error.with_prefix(f"sources.{name}") from error
            names = pa.array([name] * table.num_rows, pa.string())
            tables.append(table.append_column(SOURCE_FIELD, names))
        try:
            return pa.concat_tables(tables, promote_options="default")
        except pa.ArrowTypeError as error:
            raise WinnowError(
                f"expected each column to have the same type in all sources, got: {error}. Rename one of the columns.",
                key="sources",
            ) from error

    def fingerprint(self) -> str:
        """Return a fingerprint of the sources' names and fingerprints, in order."""
        return fingerprint("mixture", [[name, source.fingerprint()] for name, source in self.sources.items()])

    def describe(self) -> dict[str, Any]:
        """Return the description of each source, by name."""
        return {
            "kind": "mixture",
            "sources": {name: source.describe() for name, source in self.sources.items()},
        }

    @property
    def has_groups(self) -> bool:
        """Whether at least one source has groups."""
        return any(source.has_groups for source in self.sources.values())

    def check(self) -> list[WinnowError]:
        """Return the errors detected in all sources."""
        return [
            error.with_prefix(f"sources.{name}") for name, source in self.sources.items() for error in source.check()
        ]
