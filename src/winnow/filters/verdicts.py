"""The verdict table: every signal's score and verdict on every row."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.data.corpus import SPLITS, Corpus, SplitName
from winnow.errors import WinnowError
from winnow.filters.expression import Node, conjuncts, evaluate, expanded, names, without
from winnow.filters.parsing import parse

_FACTS = ("filter", "keep", "parts", "keep_null", "seconds", "asked")


@dataclasses.dataclass(frozen=True, eq=False)
class Verdicts:
    """What a filter says about every row of every split.

    Attributes:
        table: ``row_id``, ``split``, ``source``; for each signal ``<signal>.score`` (float64) and
            ``<signal>.keep`` (bool), null where it cannot say; for each named part ``<part>`` (bool);
            ``keep`` (bool, never null).
        filter: The filter's name.
        keep: Its expression.
        parts: The named expressions, each after those it uses.
        keep_null: Whether a row is kept for which the expression is null.
        seconds: What scoring cost, by signal, whenever that was.
        asked: Where a row was asked about only until a term dropped it, the order in which the terms were asked; its
            other scores and verdicts are null. None where every signal was asked about every row.
    """

    table: pa.Table
    filter: str
    keep: str
    parts: dict[str, str]
    keep_null: bool
    seconds: dict[str, float]
    asked: list[str] | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the table: its columns, ids, scores and verdicts, in order.

        Where rows were asked about only until a term dropped them, only ids and what is kept count.
        """
        digest = hashlib.blake2b(digest_size=8)
        for name in self.table.column_names if self.asked is None else ("row_id", "keep"):
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

    @property
    def terms(self) -> list[str]:
        """The terms that all must hold for a row to be kept, with the parts among them taken apart, as asked."""
        return list(self._terms)

    @property
    def expression(self) -> Node:
        """The expression with every part written out."""
        return expanded(parse(self.keep, "keep"), self._parts)

    @cached_property
    def _parts(self) -> dict[str, Node]:
        return {name: parse(text, f"parts.{name}") for name, text in self.parts.items()}

    @cached_property
    def _terms(self) -> dict[str, Node]:
        terms = {str(term): term for term in conjuncts(parse(self.keep, "keep"), self._parts)}
        return terms if self.asked is None else {text: terms[text] for text in self.asked}

    def column(self, name: str, split: SplitName | None = None) -> pa.ChunkedArray:
        """Return a column of the table for the rows of one split, or all, in corpus order."""
        return self.table[name] if split is None else self.table[name].filter(self._inside[split])

    @cached_property
    def _inside(self) -> dict[SplitName, pa.ChunkedArray]:
        return {split: pc.equal(self.table["split"], split) for split in SPLITS}

    def kept(self, split: SplitName | None = None) -> npt.NDArray[np.bool_]:
        """Return the mask of kept rows, of one split or of all, in corpus order."""
        mask: npt.NDArray[np.bool_] = self.column("keep", split).to_numpy()
        return mask

    def passed(self, split: SplitName | None = None) -> dict[str, npt.NDArray[np.bool_]]:
        """Return for each of :attr:`terms` which rows it lets through, a null settled as for the whole.

        A row is kept where every term lets it through, so the terms that do not are the reasons why it is dropped.
        Where terms were asked one after the other, only the first reason is known, and a term drops no row that was
        dropped before it.
        """
        passed = {name: self.settled(term, split) for name, term in self._terms.items()}
        if self.asked is not None:
            left = np.ones(len(self.column("keep", split)), dtype=bool)
            for name, mask in passed.items():
                passed[name] = mask | ~left
                left &= mask
        return passed

    def settled(self, node: Node, split: SplitName | None = None) -> npt.NDArray[np.bool_]:
        """Return for which rows an expression over the columns of this table says keep."""
        node = expanded(node, self._parts)
        used = {name.name for name, _ in names(node)}
        verdicts = {name: self.column(f"{name}.keep", split) for name in used}
        scores = {name: self.column(f"{name}.score", split) for name in used}
        mask: npt.NDArray[np.bool_] = pc.fill_null(evaluate(node, verdicts, scores), self.keep_null).to_numpy()
        return mask

    def without(self, signal: str, name: str) -> Verdicts:
        """Return the verdicts of the filter less one signal, under a name of its own; nothing is scored again.

        Raises:
            ValueError: Nothing is left of the expression, or rows were asked about only until a term dropped them, so
                that what the others say of a dropped row is not known.
        """
        gone, parts = {signal}, dict[str, Node]()
        for part, node in self._parts.items():  # each comes after those it uses
            if (left := without(node, gone)) is None:
                gone.add(part)
            else:
                parts[part] = left
        keep = without(parse(self.keep, "keep"), gone)
        if keep is None or self.asked is not None:
            raise ValueError(f"the verdicts of {self.filter!r} cannot be reduced by {signal!r}")
        table = self.table.drop_columns([f"{signal}.score", f"{signal}.keep", *(gone & set(self.parts))])
        columns = {one: self.column(f"{one}.keep") for one in self.signals if one != signal}
        scores = {one: self.column(f"{one}.score") for one in columns}
        for part, node in parts.items():
            columns[part] = evaluate(node, columns, scores)
            table = table.set_column(table.column_names.index(part), part, columns[part])
        kept = pc.fill_null(evaluate(keep, columns, scores), self.keep_null)
        table = table.set_column(table.column_names.index("keep"), "keep", kept)
        texts = {part: str(node) for part, node in parts.items()}
        seconds = {one: spent for one, spent in self.seconds.items() if one != signal}
        return Verdicts(table, name, str(keep), texts, self.keep_null, seconds)

    def reasons(self, split: SplitName | None = None) -> pa.Array:
        """Return for every row the terms that it fails, as lists of strings; a kept row fails none."""
        passed = self.passed(split)
        fails = ~np.column_stack(list(passed.values()))
        offsets = np.concatenate(([0], np.cumsum(fails.sum(axis=1))))
        failed = pa.array(list(passed), pa.string()).take(pa.array(np.nonzero(fails)[1]))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), failed)

    def dropped(self, corpus: Corpus) -> pa.Table:
        """Return the dropped rows of the train split, with a column ``failed`` that lists all their reasons."""
        rows = corpus.split("train").append_column("failed", self.reasons("train"))
        return rows.filter(pa.array(~self.kept("train")))

    def summary(self) -> dict[str, Any]:
        """Return counts that JSON can write.

        ``rows`` counts total and kept rows of each split. ``signals`` counts ``pass``, ``fail`` and ``null``
        of each signal on the train split, the one that the filter thins out. ``funnel`` is of that split too: the
        terms applied one after the other, as ``[{"stage": "train", "rows": 900}, {"stage": "nike", "rows": 420}]``.
        """
        rows = {name: self.kept(name) for name in SPLITS}
        return {
            "filter": self.filter,
            "keep": self.keep,
            "rows": {name: {"total": len(kept), "kept": int(kept.sum())} for name, kept in rows.items()},
            "signals": {name: _counts(self.column(f"{name}.keep", "train")) for name in self.signals},
            "funnel": self._funnel(),
        }

    def _funnel(self) -> list[dict[str, Any]]:
        left = np.ones(len(self.kept("train")), dtype=bool)
        stages = [{"stage": "train", "rows": len(left)}]
        for name, passes in self.passed("train").items():
            left &= passes
            stages.append({"stage": name, "rows": int(left.sum())})
        return stages

    def save(self, folder: Path) -> None:
        """Write ``verdicts.parquet`` and ``summary.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({name: getattr(self, name) for name in _FACTS})
        pq.write_table(self.table.replace_schema_metadata({"winnow": facts}), folder / "verdicts.parquet")
        summary = json.dumps(self.summary(), indent=2, ensure_ascii=False)
        (folder / "summary.json").write_text(summary + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Verdicts:
        """Read what :meth:`save` wrote.

        Raises:
            WinnowError: There is no verdict table, or it is damaged.
        """
        path = folder / "verdicts.parquet"
        try:
            table = pq.read_table(path)
            facts = json.loads(table.schema.metadata[b"winnow"])
        except FileNotFoundError as fault:
            told = f"There is no {path.name} in {folder}. Give a folder that winnow filter has written."
            raise WinnowError(told, key="folder") from fault
        except (OSError, ValueError, KeyError, TypeError) as fault:  # Arrow's own faults are of these kinds
            raise WinnowError(f"{path} is damaged ({fault}). Run winnow filter again.", key="folder") from fault
        return cls(table.replace_schema_metadata(None), **facts)


def _counts(verdicts: pa.ChunkedArray) -> dict[str, int]:
    passed = pc.sum(verdicts).as_py() or 0
    return {"pass": passed, "fail": len(verdicts) - verdicts.null_count - passed, "null": verdicts.null_count}
