"""Build a corpus from a source: clean the texts, drop duplicates, and assign splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data.cache import is_intact
from winnow.data.cleaning import CleaningStep
from winnow.data.corpus import EXTERNAL_SPLIT, SPLITS, Corpus, content_fingerprint
from winnow.data.fingerprint import fingerprint
from winnow.data.ingestion import CleanedRows, read_clean_rows
from winnow.data.integrity import Check
from winnow.data.leakage import measure_leakage
from winnow.data.sources.source import GROUP_COLUMN, Mixture, Source
from winnow.data.split import Split
from winnow.errors import WinnowError
from winnow.untrusted_text import SafeName

_CACHE_VERSION = (
    3  # increase if a code change makes the same settings produce different rows, so that old caches are not used
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Dataset:
    """The settings from which a corpus is built.

    Attributes:
        name: The name of the dataset. It is also the value of the ``source`` column unless the source is a mixture.
        source: The source that the texts are read from.
        integrity: Integrity checks for the raw rows, by name.
        cleaning: The cleaning steps, in order.
        split: The method of assigning rows to splits.
        validation: The source of a separate validation set; null takes the validation rows from ``source``.
        external: Additional held-out sets, by name. Every arm is evaluated on these sets.
    """

    name: SafeName
    source: InstanceOf[Source]
    cleaning: list[CleaningStep] = Field(default_factory=lambda: [CleaningStep.DROP_NULL, CleaningStep.COLLAPSE_SPACE])
    split: Split = Field(default_factory=Split)
    integrity: dict[SafeName, InstanceOf[Check]] = Field(default_factory=dict)
    validation: InstanceOf[Source] | None = None
    external: dict[SafeName, InstanceOf[Source]] = Field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return a fingerprint (16 hex digits) of the sources' content and of all settings that affect the corpus.

        Raises:
            WinnowError: If a source file cannot be read.
        """
        content = {}
        for key, source in self._sources_by_key().items():
            try:
                content[key] = source.fingerprint()
            except WinnowError as error:
                raise error.with_prefix(key) from error
        checks = {name: [type(check).__name__, asdict(check)] for name, check in self.integrity.items()}
        return fingerprint(
            "dataset", _CACHE_VERSION, self.name, content, self.cleaning, self.split.fingerprint_settings(), checks
        )

    @property
    def group_columns(self) -> list[str]:
        """The columns whose values determine which rows stay in the same split; empty if rows are not grouped."""
        return self.split.group_by or ([GROUP_COLUMN] if self.source.has_groups else [])

    def check(self) -> list[WinnowError]:
        """Return the errors in all sources that can be detected without reading all rows."""
        return [error.with_prefix(key) for key, source in self._sources_by_key().items() for error in source.check()]

    def load(self, cache_dir: Path, known_fingerprint: str | None = None) -> Corpus:
        """Return the corpus, which is built and cached by the first call.

        Later calls memory-map the corpus from ``cache_dir/corpus/<fingerprint>``.

        Args:
            cache_dir: The cache folder. Several processes can share a cache folder.
            known_fingerprint: The dataset's fingerprint, if already computed; None computes the fingerprint by hashing
                the sources.

        Raises:
            WinnowError: If a source cannot be read, if some rows have no text and ``cleaning`` does not include
                ``drop_null``, or if no rows remain.
        """
        folders = cache_dir / "corpus"
        if known_fingerprint is None or not is_intact(folders / known_fingerprint):
            known_fingerprint = self.fingerprint()
        if not is_intact(folders / known_fingerprint):
            self._build_corpus().save(folders / known_fingerprint)
        return replace(Corpus.open(folders / known_fingerprint), dataset_fingerprint=known_fingerprint)

    def _build_corpus(self) -> Corpus:
        main = self._read_source("source", self.source, self.name)
        validation = self._read_source("validation", self.validation, "validation") if self.validation else None
        external = {name: self._read_source(f"external.{name}", source, name) for name, source in self.external.items()}
        splits = self._assign_splits(main)
        table, funnel = build_split_table(main, splits), dict(main.funnel)
        if validation or external:
            table = table.filter(pa.array(_compute_separate_mask(main, splits, validation, external.values())))
            funnel["apart"] = table.num_rows
        tables = [build_split_table(validation, "validation", table)] if validation else []
        tables += [build_split_table(rows, EXTERNAL_SPLIT, table) for rows in external.values()]
        table = pa.concat_tables([table, *tables], promote_options="default").combine_chunks()
        _require_every_split(table, funnel)
        errors = [error for rows in (main, validation, *external.values()) if rows for error in rows.record_errors]
        corpus = Corpus(
            table,
            content_fingerprint(table),
            funnel,
            self._describe_sources(),
            errors,
            main.integrity,
            main.cumulative_failures,
        )
        return replace(corpus, leakage=measure_leakage(corpus))

    def _assign_splits(self, main: CleanedRows) -> list[str]:
        split = replace(self.split, group_by=self.group_columns)
        further = [name for name in main.rows.column_names if name != "text" and split.group_by]
        columns = {name: main.rows[name].to_pylist() for name in further}
        try:
            return split.assign(main.normalized_texts, columns, validation=self.validation is None)
        except WinnowError as error:
            if error.key == "group_by" and not self.split.group_by:  # the groups are those of the source
                raise WinnowError(error.message, "source.group") from error
            raise error.with_prefix("split") from error

    def _read_source(self, key: str, source: Source, name: str) -> CleanedRows:
        checks = self.integrity if source is self.source else {}
        try:
            return read_clean_rows(source, name, self.cleaning, checks)
        except WinnowError as error:
            raise (
                error if error.key and error.key.startswith(("cleaning", "integrity")) else error.with_prefix(key)
            ) from error

    def _sources_by_key(self) -> dict[str, Source]:
        """Return all sources, by configuration key."""
        validation = {"validation": self.validation} if self.validation else {}
        external = {f"external.{name}": source for name, source in self.external.items()}
        return {"source": self.source, **validation, **external}

    def _describe_sources(self) -> list[dict[str, Any]]:
        named = self.source.sources if isinstance(self.source, Mixture) else {self.name: self.source}
        descriptions = [{"name": name, **source.describe()} for name, source in named.items()]
        held_out = {"validation": self.validation} if self.validation else {}
        held_out |= {f"{EXTERNAL_SPLIT}/{name}": source for name, source in self.external.items()}
        for name, source in held_out.items():
            descriptions.append({"name": name, "held_out": True, **source.describe()})
        return descriptions


def build_split_table(cleaned: CleanedRows, split: str | Sequence[str], like: pa.Table | None = None) -> pa.Table:
    """Return the rows as a corpus table. If ``like`` is given, drop the additional columns that ``like`` lacks."""
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in cleaned.normalized_texts]
    columns = {
        "row_id": pa.array(ids, pa.string()),
        "text": cleaned.rows["text"],
        "source": cleaned.rows["source"],
        "split": pa.array([split] * len(ids) if isinstance(split, str) else split, pa.string()),
    }
    given = {name: cleaned.rows[name] for name in cleaned.rows.column_names if name not in columns}
    if like is not None:
        given = {name: column for name, column in given.items() if name in like.column_names}
    return pa.table({**columns, **given}).combine_chunks()


def _compute_separate_mask(
    main: CleanedRows, splits: Sequence[str], validation: CleanedRows | None, external: Iterable[CleanedRows]
) -> list[bool]:
    """Return a mask of the rows to keep.

    A row is dropped if its text occurs in the validation set. A training row is also dropped if its text occurs in an
    external set.
    """
    given = set(validation.normalized_texts) if validation else set()
    held_out = given.union(*(rows.normalized_texts for rows in external))
    return [
        text not in (held_out if split == "train" else given)
        for text, split in zip(main.normalized_texts, splits, strict=True)
    ]


def _require_every_split(rows: pa.Table, funnel: dict[str, int]) -> None:
    stages = ", ".join(f"{stage} {count:,}" for stage, count in funnel.items())
    if not rows.num_rows:
        raise WinnowError(
            f"the corpus is empty. Rows after each stage: {stages}. Check the text columns and the cleaning steps.",
            key="source",
        )
    present = set(rows["split"].unique().to_pylist())
    if missing := [name for name in SPLITS if name not in present]:
        raise WinnowError(
            f"no rows were assigned to {' and '.join(missing)}: the corpus has only {rows.num_rows:,} unique rows. "
            f"Rows after each stage: {stages}. Add rows, or increase the split fractions.",
            key="split",
        )
