"""From a source to a corpus: clean, drop duplicates, split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.cache import intact
from winnow.data.cleaning import CleaningStep
from winnow.data.corpus import EXTERNAL, SPLITS, Corpus, content_fingerprint
from winnow.data.fingerprint import fingerprint
from winnow.data.ingestion import Reading, read_rows
from winnow.data.integrity import Check
from winnow.data.leakage import held_out_leakage
from winnow.data.sources.source import Mixture, Source
from winnow.data.split import Split
from winnow.errors import WinnowError

_VERSION = 2  # raise it when the same settings would give other rows, so that old caches are left alone


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Dataset:
    """How a corpus is made.

    Attributes:
        name: What the dataset is called; it is also the ``source`` of rows that do not come from a mixture.
        source: Where the texts come from.
        integrity: Checks of the rows as they were read, by name.
        cleaning: The cleaning steps, in order.
        split: How rows are given to splits.
        validation: A validation set of its own; then no row of ``source`` is given to ``validation``.
        external: Further held-out sets, by name, that every arm is measured on.
    """

    name: Annotated[str, Field(min_length=1)]
    source: InstanceOf[Source]
    cleaning: list[CleaningStep] = Field(default_factory=lambda: [CleaningStep.DROP_NULL, CleaningStep.COLLAPSE_SPACE])
    split: Split = Field(default_factory=Split)
    integrity: dict[str, InstanceOf[Check]] = Field(default_factory=dict)
    validation: InstanceOf[Source] | None = None
    external: dict[str, InstanceOf[Source]] = Field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return 16 hex digits over the sources' content and every setting that shapes the corpus.

        Raises:
            WinnowError: A file of a source cannot be read.
        """
        content = {}
        for key, source in self._sources().items():
            try:
                content[key] = source.fingerprint()
            except WinnowError as fault:
                raise fault.with_prefix(key) from fault
        checks = {name: [type(check).__name__, asdict(check)] for name, check in self.integrity.items()}
        return fingerprint(
            "dataset", _VERSION, self.name, content, self.cleaning, self.split.fingerprint_settings(), checks
        )

    def check(self) -> list[WinnowError]:
        """Return the faults that can be seen without reading all rows."""
        return [fault.with_prefix(key) for key, source in self._sources().items() for fault in source.check()]

    def load(self, cache_dir: Path, known: str | None = None) -> Corpus:
        """Return the corpus, built once and memory-mapped from ``cache_dir/corpus/<fingerprint>`` afterwards.

        Args:
            cache_dir: Where results are kept; several processes may share it.
            known: The dataset's fingerprint, if it is known. Without it, the sources are hashed to find the corpus.

        Raises:
            WinnowError: The source cannot be read, rows have no text although ``drop_null`` is not asked for,
                or no rows are left.
        """
        folders = cache_dir / "corpus"
        if known is None or not intact(folders / known):
            known = self.fingerprint()
        if not intact(folders / known):
            self._build().save(folders / known)
        return replace(Corpus.open(folders / known), dataset=known)

    def _build(self) -> Corpus:
        main = self._read("source", self.source, self.name)
        validation = self._read("validation", self.validation, "validation") if self.validation else None
        external = {name: self._read(f"external.{name}", source, name) for name, source in self.external.items()}
        splits = self._assign(main)
        table, funnel = _arranged(main, splits), dict(main.funnel)
        if validation or external:
            table = table.filter(pa.array(_apart(main, splits, validation, external.values())))
            funnel["apart"] = table.num_rows
        parts = [_arranged(validation, "validation", table)] if validation else []
        parts += [_arranged(one, EXTERNAL, table) for one in external.values()]
        table = pa.concat_tables([table, *parts], promote_options="default").combine_chunks()
        _require_every_split(table, funnel)
        faults = [fault for one in (main, validation, *external.values()) if one for fault in one.faults]
        corpus = Corpus(
            table, content_fingerprint(table), funnel, self._described(), faults, main.integrity, main.failing
        )
        return replace(corpus, leakage=held_out_leakage(corpus))

    def _assign(self, main: Reading) -> list[str]:
        further = [name for name in main.rows.column_names if name != "text" and self.split.group_by]
        columns = {name: main.rows[name].to_pylist() for name in further}
        try:
            return self.split.assign(main.texts, columns, validation=self.validation is None)
        except WinnowError as fault:
            raise fault.with_prefix("split") from fault

    def _read(self, key: str, source: Source, name: str) -> Reading:
        checks = self.integrity if source is self.source else {}
        try:
            return read_rows(source, name, self.cleaning, checks)
        except WinnowError as fault:
            raise (
                fault if fault.key and fault.key.startswith(("cleaning", "integrity")) else fault.with_prefix(key)
            ) from fault

    def _sources(self) -> dict[str, Source]:
        """Return every source by its key."""
        given = {"validation": self.validation} if self.validation else {}
        return {"source": self.source, **given, **{f"external.{name}": one for name, one in self.external.items()}}

    def _described(self) -> list[dict[str, Any]]:
        named = self.source.sources if isinstance(self.source, Mixture) else {self.name: self.source}
        found = [{"name": name, **source.describe()} for name, source in named.items()]
        given = {"validation": self.validation} if self.validation else {}
        for name, source in {**given, **{f"{EXTERNAL}/{name}": one for name, one in self.external.items()}}.items():
            found.append({"name": name, "held_out": True, **source.describe()})
        return found


def _arranged(read: Reading, split: str | Sequence[str], like: pa.Table | None = None) -> pa.Table:
    """Return the columns of a corpus for rows; of further columns, those that a table like it has."""
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in read.texts]
    columns = {
        "row_id": pa.array(ids, pa.string()),
        "text": read.rows["text"],
        "source": read.rows["source"],
        "split": pa.array([split] * len(ids) if isinstance(split, str) else split, pa.string()),
    }
    given = {name: read.rows[name] for name in read.rows.column_names if name not in columns}
    if like is not None:
        given = {name: column for name, column in given.items() if name in like.column_names}
    return pa.table({**columns, **given}).combine_chunks()


def _apart(main: Reading, splits: Sequence[str], validation: Reading | None, external: Iterable[Reading]) -> list[bool]:
    """Return which rows stay: none that is in the given validation set, and to train on none in an external set."""
    given = set(validation.texts) if validation else set()
    held_out = given.union(*(one.texts for one in external))
    return [
        text not in (held_out if split == "train" else given) for text, split in zip(main.texts, splits, strict=True)
    ]


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
