"""From a source to a corpus: clean, drop duplicates, split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.cleaning import CleaningStep, clean, normalise
from winnow.data.corpus import SPLITS, Corpus, content_fingerprint
from winnow.data.fingerprint import fingerprint
from winnow.data.integrity import Check, inspect
from winnow.data.source import FAULT, Mixture, Source
from winnow.data.split import Split
from winnow.errors import WinnowError

_VERSION = 1  # raise it when the same settings would give other rows, so that old caches are left alone


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Dataset:
    """How a corpus is made.

    Attributes:
        name: What the dataset is called; it is also the ``source`` of rows that do not come from a mixture.
        source: Where the texts come from.
        integrity: Checks of the rows as they were read, by name.
        cleaning: The cleaning steps, in order.
        split: How rows are given to splits.
    """

    name: Annotated[str, Field(min_length=1)]
    source: InstanceOf[Source]
    cleaning: list[CleaningStep] = Field(default_factory=lambda: [CleaningStep.DROP_NULL, CleaningStep.COLLAPSE_SPACE])
    split: Split = Field(default_factory=Split)
    integrity: dict[str, InstanceOf[Check]] = Field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return 16 hex digits over the source's content and every setting that shapes the corpus.

        Raises:
            WinnowError: A file of the source cannot be read.
        """
        try:
            source = self.source.fingerprint()
        except WinnowError as fault:
            raise fault.under("source") from fault
        split = [self.split.validation_fraction, self.split.test_fraction, self.split.salt]
        checks = {name: [type(check).__name__, asdict(check)] for name, check in self.integrity.items()}
        return fingerprint("dataset", _VERSION, self.name, source, self.cleaning, split, checks)

    def check(self) -> list[WinnowError]:
        """Return the faults that can be seen without reading all rows."""
        return [fault.under("source") for fault in self.source.check()]

    def load(self, cache_dir: Path) -> Corpus:
        """Return the corpus, built once and memory-mapped from ``cache_dir/corpus/<fingerprint>`` afterwards.

        Args:
            cache_dir: Where results are kept; several processes may share it.

        Raises:
            WinnowError: The source cannot be read, rows have no text although ``drop_null`` is not asked for,
                or no rows are left.
        """
        folder = cache_dir / "corpus" / self.fingerprint()
        if not folder.exists():
            self._build().save(folder)
        return Corpus.open(folder)

    def _build(self) -> Corpus:
        try:
            rows = self.source.read()
        except WinnowError as fault:
            raise fault.under("source") from fault
        funnel = {"read": rows.num_rows}
        faults: list[str] = []
        if FAULT.name in rows.column_names:
            faults = pc.drop_null(rows[FAULT.name]).to_pylist()
            rows = rows.filter(pc.is_null(rows[FAULT.name])).drop_columns(FAULT.name)
            funnel["whole"] = rows.num_rows
        rows, integrity, failing = inspect(rows, self.integrity)
        if any(check.action == "drop" for check in self.integrity.values()):
            funnel["sound"] = rows.num_rows
        if "source" not in rows.column_names:
            rows = rows.append_column("source", pa.array([self.name] * rows.num_rows, pa.string()))
        raw = rows["text"].to_pylist()
        funnel["with_text"] = sum(text is not None and not text.isspace() for text in raw)
        rows = rows.set_column(
            rows.column_names.index("text"), "text", pa.array(clean(raw, self.cleaning), pa.string())
        )
        rows = self._without_null(rows)
        funnel["cleaned"] = rows.num_rows
        # Insertion order makes the first row of each text the one that stays.
        first: dict[str, int] = {}
        for place, text in enumerate(rows["text"].to_pylist()):
            first.setdefault(normalise(text), place)
        funnel["unique"] = len(first)
        rows = _arranged(rows.take(pa.array(first.values(), pa.int64())), list(first), self.split)
        _require_every_split(rows, funnel)
        named = self.source.sources if isinstance(self.source, Mixture) else {self.name: self.source}
        sources = [{"name": name, **source.describe()} for name, source in named.items()]
        return Corpus(rows, content_fingerprint(rows), funnel, sources, faults, integrity, failing)

    def _without_null(self, rows: pa.Table) -> pa.Table:
        nulls = rows["text"].null_count
        if nulls and CleaningStep.DROP_NULL not in self.cleaning:
            raise WinnowError(
                f"{nulls:,} of {rows.num_rows:,} rows have no text, or none after cleaning. "
                "Add `drop_null` to the cleaning steps, or fill the rows in.",
                key="cleaning",
            )
        return rows.filter(pc.is_valid(rows["text"])) if nulls else rows


def _arranged(rows: pa.Table, texts: Sequence[str], split: Split) -> pa.Table:
    """Return the columns of a corpus for ``rows``, whose normalised texts are ``texts``."""
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
    columns = {
        "row_id": pa.array(ids, pa.string()),
        "text": rows["text"],
        "source": rows["source"],
        "split": pa.array(split.assign(texts), pa.string()),
    }
    given = {name: rows[name] for name in rows.column_names if name not in columns}
    return pa.table({**columns, **given}).combine_chunks()


def _require_every_split(rows: pa.Table, funnel: dict[str, int]) -> None:
    stages = ", ".join(f"{stage} {count:,}" for stage, count in funnel.items())
    if not rows.num_rows:
        raise WinnowError(
            f"The corpus is empty. Rows after each stage: {stages}. "
            "See whether the text columns are the right ones and whether the cleaning takes all away.",
            key="source",
        )
    present = set(rows["split"].unique().to_pylist())
    if missing := [name for name in SPLITS if name not in present]:
        raise WinnowError(
            f"{rows.num_rows:,} unique rows leave the split {' and '.join(missing)} empty. "
            f"Rows after each stage: {stages}. Give more rows or larger fractions.",
            key="split",
        )
