"""From scores to verdicts: the checked expressions of a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.expression import Node, evaluate, names
from winnow.filters.parsing import fault_at, parse
from winnow.filters.scoring import Scored
from winnow.filters.signals import Signal
from winnow.filters.verdicts import Verdicts

_RESERVED = {"row_id", "split", "source", "label", "text", "keep"}


@dataclass(frozen=True)
class Decision:
    """The parsed expressions of a filter, every name in them known.

    Attributes:
        signals: Signals by name.
        parts: Named expressions, each after those it uses.
        keep: The expression that decides.
        keep_null: Whether a row is kept for which ``keep`` is null.
    """

    signals: Mapping[str, Signal]
    parts: dict[str, Node]
    keep: Node
    keep_null: bool

    @classmethod
    def of(cls, signals: Mapping[str, Signal], parts: Mapping[str, str], keep: str, on_null: str) -> Decision:
        """Parse and check the expressions.

        Raises:
            WinnowError: A name is unknown, taken or refers to itself, or an expression cannot be parsed.
        """
        _check_names(signals, parts)
        trees = {name: parse(text, f"parts.{name}") for name, text in parts.items()}
        tree = parse(keep, "keep")
        for name, node in trees.items():
            _check_uses(node, parts[name], f"parts.{name}", signals, parts)
        _check_uses(tree, keep, "keep", signals, parts)
        return cls(signals, _in_order(trees), tree, on_null == "keep")

    def decide(self, name: str, corpus: Corpus, scored: Mapping[str, Scored]) -> Verdicts:
        """Return the verdicts on all rows of a corpus.

        Args:
            name: The filter's name.
            corpus: The rows.
            scored: The scores of each signal, in corpus order.
        """
        scores = {signal: one.scores for signal, one in scored.items()}
        verdicts: dict[str, Any] = {signal: self.signals[signal].keep(scores[signal]) for signal in self.signals}
        columns: dict[str, Any] = {column: corpus.table[column] for column in ("row_id", "split", "source")}
        for signal in self.signals:
            columns |= {f"{signal}.score": scores[signal], f"{signal}.keep": verdicts[signal]}
        for part, node in self.parts.items():
            columns[part] = verdicts[part] = evaluate(node, verdicts, scores)
        columns["keep"] = pc.fill_null(evaluate(self.keep, verdicts, scores), self.keep_null)
        parts = {part: str(node) for part, node in self.parts.items()}
        seconds = {signal: one.seconds for signal, one in scored.items()}
        return Verdicts(pa.table(columns), name, str(self.keep), parts, self.keep_null, seconds)


def _check_names(signals: Mapping[str, Signal], parts: Mapping[str, str]) -> None:
    for key, group in (("signals", signals), ("parts", parts)):
        for name in group:
            if not name.isidentifier() or name in _RESERVED:
                raise WinnowError(
                    f"'{name}' cannot be a name here: a name is made of letters, digits and underscores, "
                    f"starts with no digit, and is none of {', '.join(sorted(_RESERVED))}.",
                    key=f"{key}.{name}",
                )
    for name in parts:
        if name in signals:
            raise WinnowError(
                f"'{name}' is the name of a signal already; call the part something else.",
                key=f"parts.{name}",
            )


def _check_uses(node: Node, text: str, key: str, signals: Mapping[str, Signal], parts: Mapping[str, str]) -> None:
    for name, scored in names(node):
        if scored and name.name in parts:
            raise fault_at(
                text,
                key,
                name.position,
                f"'{name}' is a part and has no score; only signals can be compared.",
            )
        if name.name not in signals and name.name not in parts:
            known = [*signals, *parts]
            hint = did_you_mean(name.name, known)
            raise fault_at(
                text,
                key,
                name.position,
                f"There is no signal or part '{name}'.{hint} There are {', '.join(known)}.",
            )


def _in_order(trees: Mapping[str, Node]) -> dict[str, Node]:
    """Return the parts so that each comes after those it uses."""
    ordered: dict[str, Node] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise WinnowError(
                f"The part '{name}' refers to itself ({circle}). Take one of these references out.",
                key=f"parts.{name}",
            )
        for used, _ in names(trees[name]):
            if used.name in trees and used.name not in ordered:
                place(used.name, (*path, name))
        ordered.setdefault(name, trees[name])

    for name in trees:
        place(name, ())
    return ordered
