"""The corpus: clean, unique rows with a split for each row."""

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
EXTERNAL: Final = "external"
"""The ``split`` of rows of external held-out sets; their ``source`` is the name of the set."""


_METADATA: Final = {
    "fingerprint": "fingerprint",
    "funnel": "funnel",
    "sources": "sources",
    "faults": "record_errors",
    "integrity": "integrity",
    "failing": "failing",
    "leakage": "leakage",
}
"""Names in ``corpus.json``, which never change, and the fields of :class:`Corpus`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Clean, unique rows in the order of their source, with a split for each row.

    Attributes:
        table: ``row_id`` (16 hex digits, the hash of the normalized text), ``text``, ``source`` and ``split``, which
            are never null, and ``label`` (int64) and further columns if the source has them.
        fingerprint: 16 hex digits over row ids, texts, splits, labels and further columns, in order.
        funnel: Number of rows after each stage: ``read``, ``whole`` (if broken records were dropped), ``sound`` (if
            checks drop rows), ``with_text``, ``cleaned``, ``unique``, ``apart`` (if there are separate held-out sets).
        sources: The description of each source.
        record_errors: The error of each broken record that was dropped.
        integrity: For each check, its ``action``, the number of ``rows`` it checked and how many ``failed``.
        failing: At regular intervals, the number of rows read so far and how many of them fail any check.
        leakage: For each held-out split, the number of ``rows`` compared, and the fractions of them that have an
            ``exact`` and a ``near`` duplicate in train.
        dataset: The fingerprint of the dataset, including its sources; empty if no dataset loaded the corpus.
        memory_map: The memory map of the table, if the corpus was opened from a folder.
    """

    table: pa.Table
    fingerprint: str
    funnel: dict[str, int]
    sources: list[dict[str, Any]]
    record_errors: list[str] = dataclasses.field(default_factory=list)
    integrity: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failing: list[list[int]] = dataclasses.field(default_factory=list)
    leakage: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    dataset: str = ""
    memory_map: mmap.mmap | None = dataclasses.field(default=None, repr=False)

    def split(self, name: SplitName | Literal["external"]) -> pa.Table:
        """Return the rows of one split, or of all external sets, in the order of the corpus."""
        return self.table.filter(pc.equal(self.table["split"], name))

    def release(self) -> None:
        """Release the resident pages of the memory map. They are read again on access."""
        if self.memory_map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.memory_map.madvise(mmap.MADV_DONTNEED)

    def save(self, folder: Path) -> None:
        """Write the corpus to ``folder`` atomically, unless the folder exists."""
        metadata = {name: getattr(self, field) for name, field in _METADATA.items()}
        with publish_folder(folder) as draft:
            draft.mkdir()
            # Uncompressed Arrow can be memory-mapped without a copy.
            with pa.ipc.new_file(draft / "rows.arrow", self.table.schema) as writer:
                writer.write_table(self.table)
            (draft / "corpus.json").write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Open a saved corpus and memory-map its rows.

        Raises:
            WinnowError: The folder is damaged.
        """
        try:
            saved = json.loads((folder / "corpus.json").read_text("utf-8"))
            metadata = {field: saved[name] for name, field in _METADATA.items()}
            with (folder / "rows.arrow").open("rb") as stream:
                memory_map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            table = pa.ipc.open_file(pa.py_buffer(memory_map)).read_all()
        except (OSError, ValueError, KeyError) as error:  # Arrow raises the first two
            raise unreadable_cache_error(folder, error) from error
        return cls(table, **metadata, memory_map=memory_map)


def content_fingerprint(table: pa.Table) -> str:
    """Return 16 hex digits over all columns except ``source``, in order."""
    digest = hashlib.blake2b(digest_size=8)
    for batch in table.select(["row_id", "text", "split"]).to_batches():
        for row_id, text, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            # The length before the text makes the bytes of each table unique.
            digest.update(f"{row_id}{split}{len(text)}:{text}".encode())
    for name in table.column_names:
        if name not in ("row_id", "text", "split", "source"):
            digest.update(json.dumps([name, table[name].to_pylist()]).encode())
    return digest.hexdigest()
