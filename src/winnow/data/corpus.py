"""The corpus: clean, unique rows, each in a split."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.cache import damaged, published

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
EXTERNAL: Final = "external"
"""What the rows of external held-out sets have in place of a split; their ``source`` is the set's name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Clean, unique rows in the order of their source, each in a split.

    Attributes:
        table: ``row_id`` (16 hex digits, the hash of the normalised text), ``text``, ``source``, ``split``,
            none of them ever null, and ``label`` (int64) and further columns where the source has them.
        fingerprint: 16 hex digits over row ids, texts, splits, labels and further columns, in order.
        funnel: Rows left after each stage: ``read``, ``whole`` (where broken ones were dropped), ``sound`` (where
            checks drop), ``with_text``, ``cleaned``, ``unique``, ``apart`` (where sets are given that are held out).
        sources: What each source says of itself.
        faults: What was wrong with each broken record that was dropped.
        integrity: Of each check its ``action``, the ``rows`` it saw and how many ``failed``.
        failing: At stops along the rows as they were read, how many were read and how many of them fail any check.
        leakage: For each held-out split how many ``rows`` of it were looked at, and the shares of them that have an
            ``exact`` and a ``near`` duplicate in train.
        dataset: The fingerprint of the dataset, sources included, that the corpus was built from; empty if it was not
            loaded by a dataset.
        pages: The memory map that the table lies in, if it was opened from a folder.
    """

    table: pa.Table
    fingerprint: str
    funnel: dict[str, int]
    sources: list[dict[str, Any]]
    faults: list[str] = dataclasses.field(default_factory=list)
    integrity: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failing: list[list[int]] = dataclasses.field(default_factory=list)
    leakage: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    dataset: str = ""
    pages: mmap.mmap | None = dataclasses.field(default=None, repr=False)

    def split(self, name: SplitName | Literal["external"]) -> pa.Table:
        """Return the rows of one split, or of all external sets, in corpus order."""
        return self.table.filter(pc.equal(self.table["split"], name))

    def release(self) -> None:
        """Give back the memory that was read in from the memory map; it is read again where it is needed."""
        if self.pages is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.pages.madvise(mmap.MADV_DONTNEED)

    def save(self, folder: Path) -> None:
        """Write the corpus to ``folder`` in one step, unless it is there already."""
        told = ("fingerprint", "funnel", "sources", "faults", "integrity", "failing", "leakage")
        facts = {name: getattr(self, name) for name in told}
        with published(folder) as draft:
            draft.mkdir()
            # Uncompressed Arrow, so that reading it back is a memory map and not a copy.
            with pa.ipc.new_file(draft / "rows.arrow", self.table.schema) as writer:
                writer.write_table(self.table)
            (draft / "corpus.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Open a saved corpus; its rows are memory-mapped.

        Raises:
            WinnowError: The folder is damaged.
        """
        try:
            facts = json.loads((folder / "corpus.json").read_text("utf-8"))
            with (folder / "rows.arrow").open("rb") as stream:
                pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            table = pa.ipc.open_file(pa.py_buffer(pages)).read_all()
        except (OSError, ValueError) as fault:  # Arrow's own faults are of these kinds
            raise damaged(folder, fault) from fault
        return cls(table, **facts, pages=pages)


def content_fingerprint(table: pa.Table) -> str:
    """Return 16 hex digits over every column but ``source``, in order."""
    digest = hashlib.blake2b(digest_size=8)
    for batch in table.select(["row_id", "text", "split"]).to_batches():
        for row_id, text, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            # A length before the text, so that no two tables spell the same bytes.
            digest.update(f"{row_id}{split}{len(text)}:{text}".encode())
    for name in table.column_names:
        if name not in ("row_id", "text", "split", "source"):
            digest.update(json.dumps([name, table[name].to_pylist()]).encode())
    return digest.hexdigest()
