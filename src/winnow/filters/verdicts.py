"""The verdict table: the score and verdict of every signal on every row."""

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
from winnow.filters.expression import Node, evaluate, expand_parts, iter_names, remove_names, split_conjuncts
from winnow.filters.expression_parser import parse

# The attribute names, by metadata key in verdicts.parquet. Version 0.1 stored the term order under the key "asked".
_ATTRIBUTES_BY_METADATA_KEY = {
    **{name: name for name in ("filter", "keep", "parts", "keep_null", "seconds", "thresholds")},
    "asked": "term_order",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Verdicts:
    """A filter's decision on every row of every split, with the scores that the decision is based on.

    Attributes:
        table: A table with the columns ``row_id``, ``split`` and ``source``; ``<signal>.score`` (float64) and
            ``<signal>.keep`` (bool) for each signal, which are null if the row has no score; ``<part>`` (bool) for each
            named part; and ``keep`` (bool, never null).
        filter: The name of the filter.
        keep: The expression of the filter.
        parts: The named sub-expressions, sorted so that each part comes after the parts it refers to.
        keep_null: Whether a row is kept if the expression is null.
        seconds: The time spent on scoring, by signal. For cached scores, the time it took to compute them originally.
        term_order: The terms in the order of evaluation if each row was scored only until a term dropped it
            (``mode: short_circuit``); None if every signal scored every row. Skipped scores and verdicts are null.
        thresholds: The thresholds that were computed for a given fraction of rows, by signal.
    """

    table: pa.Table
    filter: str
    keep: str
    parts: dict[str, str]
    keep_null: bool
    seconds: dict[str, float]
    term_order: list[str] | None = None
    thresholds: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """A 16-digit hex string that identifies the table: its columns, row ids, scores and verdicts, in order.

        In short-circuit mode, the fingerprint depends only on the row ids and the ``keep`` column.
        """
        digest = hashlib.blake2b(digest_size=8)
        for name in self.table.column_names if self.term_order is None else ("row_id", "keep"):
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
        """The terms of the expression, in the order of evaluation; a row is kept if it passes every term."""
        return list(self._term_nodes)

    @property
    def expression(self) -> Node:
        """The expression, with every part replaced by its definition."""
        return expand_parts(parse(self.keep, "keep"), self._part_nodes)

    @cached_property
    def _part_nodes(self) -> dict[str, Node]:
        return {name: parse(text, f"parts.{name}") for name, text in self.parts.items()}

    @cached_property
    def _term_nodes(self) -> dict[str, Node]:
        terms = {str(term): term for term in split_conjuncts(parse(self.keep, "keep"), self._part_nodes)}
        return terms if self.term_order is None else {text: terms[text] for text in self.term_order}

    def column(self, name: str, split: SplitName | None = None) -> pa.ChunkedArray:
        """Return a column of the table in corpus order, either for one split or for all rows."""
        return self.table[name] if split is None else self.table[name].filter(self._split_masks[split])

    @cached_property
    def _split_masks(self) -> dict[SplitName, pa.ChunkedArray]:
        return {split: pc.equal(self.table["split"], split) for split in SPLITS}

    def keep_mask(self, split: SplitName | None = None) -> npt.NDArray[np.bool_]:
        """Return the mask of kept rows in corpus order, either for one split or for all rows."""
        mask: npt.NDArray[np.bool_] = self.column("keep", split).to_numpy()
        return mask

    def pass_masks(self, split: SplitName | None = None) -> dict[str, npt.NDArray[np.bool_]]:
        """Return the mask of passing rows for each of :attr:`terms`; a null term passes if ``keep_null`` is true.

        A row is kept if it passes every term, so the terms it fails are the reasons for dropping it. In short-circuit
        mode, only the first failed term is known, and the row counts as passing all later terms.
        """
        pass_masks = {name: self.matching_rows(term, split) for name, term in self._term_nodes.items()}
        if self.term_order is not None:
            remaining = np.ones(len(self.column("keep", split)), dtype=bool)
            for name, mask in pass_masks.items():
                pass_masks[name] = mask | ~remaining
                remaining &= mask
        return pass_masks

    def matching_rows(self, node: Node, split: SplitName | None = None) -> npt.NDArray[np.bool_]:
        """Return the mask of rows for which an expression over signals and parts is true."""
        node = expand_parts(node, self._part_nodes)
        signals = {name.name for name, _ in iter_names(node)}
        verdicts = {name: self.column(f"{name}.keep", split) for name in signals}
        scores = {name: self.column(f"{name}.score", split) for name in signals}
        mask: npt.NDArray[np.bool_] = pc.fill_null(evaluate(node, verdicts, scores), self.keep_null).to_numpy()
        return mask

    def leave_out(self, signal: str, name: str) -> Verdicts:
        """Return the verdicts of the filter with one of its signals removed. No row is scored again.

        Args:
            signal: The signal to remove from the expression.
            name: The name of the resulting filter.

        Raises:
            ValueError: If no term of the expression remains, or if the verdicts were computed in short-circuit mode,
                which skips the remaining signals for dropped rows.
        """
        removed_names, parts = {signal}, dict[str, Node]()
        for part, node in self._part_nodes.items():  # each part comes after the parts it refers to
            if (remaining_node := remove_names(node, removed_names)) is None:
                removed_names.add(part)
            else:
                parts[part] = remaining_node
        keep = remove_names(parse(self.keep, "keep"), removed_names)
        if keep is None or self.term_order is not None:
            raise ValueError(
                f"cannot leave {signal!r} out of the verdicts of {self.filter!r}: either no term would remain, or the "
                "verdicts were computed with mode=short_circuit. Leave out another signal, or set mode=full."
            )
        table = self.table.drop_columns([f"{signal}.score", f"{signal}.keep", *(removed_names & set(self.parts))])
        columns = {other: self.column(f"{other}.keep") for other in self.signals if other != signal}
        scores = {other: self.column(f"{other}.score") for other in columns}
        for part, node in parts.items():
            columns[part] = evaluate(node, columns, scores)
            table = table.set_column(table.column_names.index(part), part, columns[part])
        kept = pc.fill_null(evaluate(keep, columns, scores), self.keep_null)
        table = table.set_column(table.column_names.index("keep"), "keep", kept)
        texts = {part: str(node) for part, node in parts.items()}
        seconds = {other: elapsed for other, elapsed in self.seconds.items() if other != signal}
        return Verdicts(table, name, str(keep), texts, self.keep_null, seconds)

    def reasons(self, split: SplitName | None = None) -> pa.Array:
        """Return the terms that each row fails, as one list of strings per row; the list is empty for a kept row."""
        pass_masks = self.pass_masks(split)
        fails = ~np.column_stack(list(pass_masks.values()))
        offsets = np.concatenate(([0], np.cumsum(fails.sum(axis=1))))
        failed_terms = pa.array(list(pass_masks), pa.string()).take(pa.array(np.nonzero(fails)[1]))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), failed_terms)

    def dropped_rows(self, corpus: Corpus) -> pa.Table:
        """Return the dropped rows of the train split, with the terms that each row fails in a ``failed`` column."""
        rows = corpus.split("train").append_column("failed", self.reasons("train"))
        return rows.filter(pa.array(~self.keep_mask("train")))

    def summary(self) -> dict[str, Any]:
        """Return row counts as JSON-serializable data.

        ``rows`` has the number of total and kept rows in each split. ``signals`` has the number of training rows that
        ``pass``, ``fail`` or are ``null`` for each signal. ``funnel`` has the number of training rows that remain after
        each term, such as ``[{"stage": "train", "rows": 900}, {"stage": "nike", "rows": 420}]``.
        """
        rows = {name: self.keep_mask(name) for name in SPLITS}
        return {
            "filter": self.filter,
            "keep": self.keep,
            "rows": {name: {"total": len(kept), "kept": int(kept.sum())} for name, kept in rows.items()},
            "signals": {name: count_verdicts(self.column(f"{name}.keep", "train")) for name in self.signals},
            "funnel": self._build_funnel(),
            **({"thresholds": self.thresholds} if self.thresholds else {}),
        }

    def _build_funnel(self) -> list[dict[str, Any]]:
        remaining = np.ones(len(self.keep_mask("train")), dtype=bool)
        stages = [{"stage": "train", "rows": len(remaining)}]
        for name, passes in self.pass_masks("train").items():
            remaining &= passes
            stages.append({"stage": name, "rows": int(remaining.sum())})
        return stages

    def save(self, folder: Path) -> None:
        """Write ``verdicts.parquet`` and ``summary.json`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        metadata = json.dumps({key: getattr(self, attribute) for key, attribute in _ATTRIBUTES_BY_METADATA_KEY.items()})
        pq.write_table(self.table.replace_schema_metadata({"winnow": metadata}), folder / "verdicts.parquet")
        summary = json.dumps(self.summary(), indent=2, ensure_ascii=False)
        (folder / "summary.json").write_text(summary + "\n", "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Verdicts:
        """Load verdicts saved by :meth:`save`.

        Raises:
            WinnowError: If the folder does not contain a verdict table, or if the table is damaged.
        """
        path = folder / "verdicts.parquet"
        try:
            table = pq.read_table(path)
            metadata = json.loads(table.schema.metadata[b"winnow"])
        except FileNotFoundError as error:
            message = f"{folder} contains no {path.name}. Pass the output folder of a `winnow filter` run."
            raise WinnowError(message, key="folder") from error
        except (OSError, ValueError, KeyError, TypeError) as error:  # includes Arrow's exceptions
            raise WinnowError(f"{path} is damaged ({error}). Run `winnow filter` again.", key="folder") from error
        attributes = {_ATTRIBUTES_BY_METADATA_KEY.get(key, key): value for key, value in metadata.items()}
        return cls(table.replace_schema_metadata(None), **attributes)


def count_verdicts(verdicts: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """Return how many rows ``pass``, ``fail`` or are ``null``."""
    passed = pc.sum(verdicts).as_py() or 0
    return {"pass": passed, "fail": len(verdicts) - verdicts.null_count - passed, "null": verdicts.null_count}
