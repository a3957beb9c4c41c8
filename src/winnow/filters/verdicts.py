"""The verdict table: every signal's score and verdict on every row."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from winnow.data.corpus import SPLITS, SplitName


@dataclasses.dataclass(frozen=True, eq=False)
class Verdicts:
    """What a filter says about every row of every split.

    Attributes:
        table: ``row_id``, ``split``, ``source``; for each signal ``<signal>.score`` (float64) and
            ``<signal>.keep`` (bool), null where it cannot say; for each named part ``<part>`` (bool);
            ``keep`` (bool, never null).
        filter: The filter's name.
        keep: Its expression.
        funnel: The terms that all must hold, applied one after the other on the train split:
            ``[{"stage": "train", "rows": 900}, {"stage": "nike", "rows": 420}, ...]``.
    """

    table: pa.Table
    filter: str
    keep: str
    funnel: list[dict[str, Any]]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the table: its columns, ids, scores and verdicts, in order."""
        digest = hashlib.blake2b(digest_size=8)
        for name in self.table.column_names:
            column = self.table[name]
            if pa.types.is_boolean(column.type):
                column = pc.fill_null(column.cast(pa.int8()), 2)
            digest.update(f"{name}:{column.type}:{len(column)}\n".encode())
            if pa.types.is_string(column.type):
                digest.update("\n".join(column.to_pylist()).encode())
            else:
                digest.update(column.to_numpy().tobytes())
        return digest.hexdigest()

    @property
    def signals(self) -> list[str]:
        """The names of the signals."""
        return [name.removesuffix(".keep") for name in self.table.column_names if name.endswith(".keep")]

    def kept(self, split: SplitName | None = None) -> npt.NDArray[np.bool_]:
        """Return the mask of kept rows, of one split or of all, in corpus order."""
        mask: npt.NDArray[np.bool_] = self._rows(split)["keep"].to_numpy()
        return mask

    def summary(self) -> dict[str, Any]:
        """Return counts that JSON can write.

        ``rows`` counts total and kept rows of each split. ``signals`` counts ``pass``, ``fail`` and ``null``
        of each signal on the train split, the one that the filter thins out; ``funnel`` is of that split too.
        """
        train = self._rows("train")
        rows = {name: self.kept(name) for name in SPLITS}
        return {
            "filter": self.filter,
            "keep": self.keep,
            "rows": {name: {"total": len(kept), "kept": int(kept.sum())} for name, kept in rows.items()},
            "signals": {name: _counts(train[f"{name}.keep"]) for name in self.signals},
            "funnel": self.funnel,
        }

    def save(self, folder: Path) -> None:
        """Write ``verdicts.parquet`` and ``summary.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({"filter": self.filter, "keep": self.keep, "funnel": self.funnel})
        pq.write_table(self.table.replace_schema_metadata({"winnow": facts}), folder / "verdicts.parquet")
        summary = json.dumps(self.summary(), indent=2, ensure_ascii=False)
        (folder / "summary.json").write_text(summary + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Verdicts:
        """Read what :meth:`save` wrote."""
        table = pq.read_table(folder / "verdicts.parquet")
        facts = json.loads(table.schema.metadata[b"winnow"])
        return cls(table.replace_schema_metadata(None), **facts)

    def _rows(self, split: SplitName | None) -> pa.Table:
        return self.table if split is None else self.table.filter(pc.equal(self.table["split"], split))


def _counts(verdicts: pa.ChunkedArray) -> dict[str, int]:
    passed = pc.sum(verdicts).as_py() or 0
    return {"pass": passed, "fail": len(verdicts) - verdicts.null_count - passed, "null": verdicts.null_count}


def save_kept(table: pa.Table, folder: Path) -> None:
    """Write the kept rows as ``kept.csv`` and as ``kept.json``, a list of records with the same columns."""
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.csv.write_csv(table, folder / "kept.csv")
    with (folder / "kept.json").open("w", encoding="utf-8") as stream:
        stream.write("[")
        for place, row in enumerate(table.to_pylist()):
            stream.write(",\n " if place else "\n ")
            stream.write(json.dumps(row, ensure_ascii=False))
        stream.write("\n]\n")
