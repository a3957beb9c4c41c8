"""The corpus: clean, unique rows, each assigned to a split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.cache import publish_folder, unreadable_cache_error

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
EXTERNAL_SPLIT: Final = "external"
"""The value of the ``split`` column for rows in external held-out sets; ``source`` holds the name of the set."""


_FIELDS_BY_METADATA_KEY: Final = {
    "fingerprint": "fingerprint",
    "funnel": "funnel",
    "sources": "sources",
    "faults": "record_errors",
    "integrity": "integrity",
    "failing": "cumulative_failures",
    "leakage": "leakage",
}
"""The fields of :class:`Corpus`, by key in ``corpus.json``. The keys never change, so old files remain readable."""


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Clean, unique rows in the order of their source, each assigned to a split.

    Attributes:
        table: The columns ``row_id`` (16 hex digits, the hash of the normalized text), ``text``, ``source`` and
            ``split``, which are never null; ``label`` (int64) and additional columns if the source has them.
        fingerprint: A fingerprint (16 hex digits) of the row ids, texts, splits, labels and additional columns.
        funnel: The number of rows after each stage. The stages are ``read``, ``whole`` (after dropping broken records),
            ``sound`` (after dropping rows that fail checks), ``with_text``, ``cleaned``, ``unique`` (after
            deduplication) and ``apart`` (after removing rows that also occur in separate held-out sets). Stages that do
            not apply are omitted.
        sources: A description of each source.
        record_errors: The error message of each broken record that was dropped.
        integrity: For each check, its ``action``, the number of ``rows`` checked and the number of ``failed`` rows.
        cumulative_failures: At regular intervals, the number of rows read so far and the number of these rows that
            fail at least one check.
        leakage: For each held-out split: ``rows``, the number of rows compared; ``exact``, the fraction of these rows
            with an exact duplicate in train; ``near``, the fraction with a near-duplicate in train; ``one_word`` and
            ``two_words``, the fractions that differ from a training row in at most one word and at most two words.
        dataset_fingerprint: The fingerprint of the dataset, including its sources; empty if the corpus was not loaded
            by a dataset.
        memory_map: The memory map that holds the table; None unless the corpus was opened from a folder.
    """

    table: pa.Table
    fingerprint: str
    funnel: dict[str, int]
    sources: list[dict[str, Any]]
    record_errors: list[str] = dataclasses.field(default_factory=list)
    integrity: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    cumulative_failures: list[list[int]] = dataclasses.field(default_factory=list)
    leakage: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    dataset_fingerprint: str = ""
    memory_map: mmap.mmap | None = dataclasses.field(default=None, repr=False)

    def split(self, name: SplitName | Literal["external"]) -> pa.Table:
        """Return the rows of one split, or of all external sets, in the order of the corpus."""
        return self.table.filter(pc.equal(self.table["split"], name))

    def release(self) -> None:
        """Release the resident pages of the memory map. The next access reads these pages from disk again."""
        if self.memory_map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.memory_map.madvise(mmap.MADV_DONTNEED)

    def save(self, folder: Path) -> None:
        """Write the corpus to ``folder`` atomically, unless the folder already exists."""
        metadata = {name: getattr(self, field) for name, field in _FIELDS_BY_METADATA_KEY.items()}
        with publish_folder(folder) as draft:
            draft.mkdir()
            # An uncompressed Arrow file can be memory-mapped without copying.
            with pa.ipc.new_file(draft / "rows.arrow", self.table.schema) as writer:
                writer.write_table(self.table)
            (draft / "corpus.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Open a saved corpus and memory-map its rows.

        Raises:
            WinnowError: If the folder is damaged.
        """
        try:
            saved = json.loads((folder / "corpus.json").read_text("utf-8"))
            metadata = {field: saved[name] for name, field in _FIELDS_BY_METADATA_KEY.items()}
            with (folder / "rows.arrow").open("rb") as stream:
                memory_map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            table = pa.ipc.open_file(pa.py_buffer(memory_map)).read_all()
        except (OSError, ValueError, KeyError) as error:  # Arrow's exceptions are subclasses of OSError and ValueError
            raise unreadable_cache_error(folder, error) from error
        return cls(table, **metadata, memory_map=memory_map)


def content_fingerprint(table: pa.Table) -> str:
    """Return a fingerprint (16 hex digits) of all columns except ``source``, in row order."""
    digest = hashlib.blake2b(digest_size=8)
    for batch in table.select(["row_id", "text", "split"]).to_batches():
        for row_id, text, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            # The length before the text ensures that different tables never produce the same bytes.
            digest.update(f"{row_id}{split}{len(text)}:{text}".encode())
    for name in table.column_names:
        if name not in ("row_id", "text", "split", "source"):
            digest.update(json.dumps([name, table[name].to_pylist()]).encode())
    return digest.hexdigest()
