"""What a source of texts offers, and the mixture of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError

TEXT = pa.field("text", pa.string())
LABEL = pa.field("label", pa.int64())
SOURCE = pa.field("source", pa.string())
FAULT = pa.field("fault", pa.string())
FLAGS = pa.field("flags", pa.string())
RESERVED = ("row_id", "text", "source", "split", "label", "fault", "flags")
"""Columns that a corpus makes itself."""


class Source(ABC):
    """Where texts come from. Making a source touches no file."""

    @abstractmethod
    def read(self) -> pa.Table:
        """Return all rows: ``text`` (string, may be null), ``label`` (int64) where there is one, and further columns.

        A mixture adds ``source`` (string). Where broken records were dropped, as the user asked, ``fault`` says of each
        what was wrong with it; it is null for the others.

        Raises:
            WinnowError: The source cannot be read; the key is relative to this object.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return 16 hex digits that change when the rows that :meth:`read` gives would change."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what a record of the data should say: kind, file, homepage, licence."""

    def check(self) -> list[WinnowError]:
        """Return the faults that can be seen without reading all rows."""
        return []


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mixture(Source):
    """Several named sources, one after the other, each row knowing its source.

    Attributes:
        sources: The sources by name, in order.
    """

    sources: dict[str, InstanceOf[Source]]

    def __post_init__(self) -> None:
        if not self.sources:
            raise WinnowError(
                "A mixture needs a source. Add one and name it: +dataset/source@dataset.source.sources.NAME=csv.",
                key="sources",
            )

    def read(self) -> pa.Table:
        """Return the rows of all sources; what one has and another lacks (labels, columns) is null there."""
        tables = []
        for name, source in self.sources.items():
            try:
                table = source.read()
            except WinnowError as fault:
                raise fault.with_prefix(f"sources.{name}") from fault
            names = pa.array([name] * table.num_rows, pa.string())
            tables.append(table.append_column(SOURCE, names))
        try:
            return pa.concat_tables(tables, promote_options="default")
        except pa.ArrowTypeError as fault:
            raise WinnowError(f"Two sources have a column of one name and two types: {fault}", key="sources") from fault

    def fingerprint(self) -> str:
        """Return a fingerprint over names and sources, in order."""
        return fingerprint("mixture", [[name, source.fingerprint()] for name, source in self.sources.items()])

    def describe(self) -> dict[str, Any]:
        """Return the description of every source by its name."""
        return {
            "kind": "mixture",
            "sources": {name: source.describe() for name, source in self.sources.items()},
        }

    def check(self) -> list[WinnowError]:
        """Return the faults of all sources."""
        return [
            fault.with_prefix(f"sources.{name}") for name, source in self.sources.items() for fault in source.check()
        ]
