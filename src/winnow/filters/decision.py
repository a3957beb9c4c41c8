"""From scores to verdicts: the checked expressions of a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.data import Corpus
from winnow.errors import WinnowError, did_you_mean
from winnow.filters.batch_scoring import Questions, Turn, score_column, settled
from winnow.filters.expression import Known, Name, Node, conjuncts, evaluate, expanded, names
from winnow.filters.parsing import fault_at, parse
from winnow.filters.planner import SAMPLE_REPAYS, Mask, Plan, make_plan, sample_places
from winnow.filters.scoring import Engine, Scored, Watch, ask_all, score_whole
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts

if TYPE_CHECKING:
    from rich.progress import Progress

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
        for name, signal in signals.items():
            tree = tree & Known(Name(name)) if signal.required else tree
        return cls(signals, _in_order(trees), tree, on_null == "keep")

    def decide(
        self, name: str, table: pa.Table, scored: Mapping[str, Scored], order: Sequence[str] | None = None
    ) -> Verdicts:
        """Return the verdicts on all rows of a corpus.

        Args:
            name: The filter's name.
            table: The rows.
            scored: The scores of each signal, in corpus order.
            order: Where each term was asked only about the rows that those before it let through, their order.
        """
        scores = {signal: one.scores for signal, one in scored.items()}
        verdicts: dict[str, Any] = {signal: self.signals[signal].keep(scores[signal]) for signal in self.signals}
        columns: dict[str, Any] = {column: table[column] for column in ("row_id", "split", "source")}
        for signal in self.signals:
            columns |= {f"{signal}.score": scores[signal], f"{signal}.keep": verdicts[signal]}
        for part, node in self.parts.items():
            columns[part] = verdicts[part] = evaluate(node, verdicts, scores)
        columns["keep"] = pc.fill_null(evaluate(self.keep, verdicts, scores), self.keep_null)
        parts = {part: str(node) for part, node in self.parts.items()}
        seconds = {signal: one.seconds for signal, one in scored.items()}
        asked = None if order is None else list(order)
        return Verdicts(pa.table(columns), name, str(self.keep), parts, self.keep_null, seconds, asked)

    def keeps(self, scores: Mapping[str, pa.Array]) -> Mask:
        """Return which rows of a batch are kept, given each signal's scores of them."""
        verdicts = {signal: self.signals[signal].keep(scores[signal]) for signal in self.signals}
        for part, node in self.parts.items():
            verdicts[part] = evaluate(node, verdicts, scores)
        answer = pc.fill_null(evaluate(self.keep, verdicts, scores), self.keep_null)
        mask: Mask = answer.to_numpy(zero_copy_only=False)
        return mask

    def terms(self) -> dict[str, Node]:
        """Return the terms that all must hold, by their text."""
        return {str(term): term for term in conjuncts(self.keep, self.parts)}

    def plan(self, table: pa.Table, known: Mapping[str, Scored]) -> Plan:
        """Return the cheapest order of the terms, as a sample of the rows tells; known scores cost nothing."""
        places = sample_places(table.num_rows)
        sample = table.take(pa.array(places))
        scores, prices = {}, {}
        for name, signal in self.signals.items():
            if name in known:
                scores[name], prices[name] = known[name].scores.take(pa.array(places)), 0.0
            else:
                score_column(name, signal, table.slice(0, 1))  # loading a model is no price that every row pays
                scores[name], seconds = score_column(name, signal, sample)
                prices[name] = 1e6 * seconds / len(places)
        terms = {text: expanded(term, self.parts) for text, term in self.terms().items()}
        passed = {text: settled(term, self.signals, scores, self.keep_null) for text, term in terms.items()}
        return make_plan(self._needs(), passed, prices)

    def quick_plan(self, table: pa.Table, known: Mapping[str, Scored]) -> Plan:
        """Return the same as :meth:`plan`, but without a sample, by declared prices alone, where none could repay."""
        prices = {name: 0.0 if name in known else signal.cost for name, signal in self.signals.items()}
        if table.num_rows * sum(prices.values()) >= SAMPLE_REPAYS:
            return self.plan(table, known)
        needs = self._needs()
        return make_plan(needs, dict.fromkeys(needs, np.array([True, False])), prices)

    def _needs(self) -> dict[str, frozenset[str]]:
        terms = {text: expanded(term, self.parts) for text, term in self.terms().items()}
        return {text: frozenset(name.name for name, _ in names(term)) for text, term in terms.items()}

    def short_circuit(
        self,
        name: str,
        corpus: Corpus,
        known: Mapping[str, Scored],
        cache_dir: Path,
        bar: Progress,
        watch: Watch | None = None,
        engine: Engine | None = None,
    ) -> Verdicts:
        """Return the same choice as :meth:`decide`, asking about each row only until a term drops it.

        Args:
            name: The filter's name.
            corpus: The rows.
            known: Scores that need not be made again.
            cache_dir: Where results are kept.
            bar: Where to tell the progress.
            watch: Called after each batch.
            engine: Who scores; this process where it is None.
        """
        plan, terms = self.quick_plan(corpus.table, known), self.terms()
        corpus.release()
        fresh = {name: signal for name, signal in self.signals.items() if name not in known}
        known = {**known, **score_whole(fresh, corpus.table, bar)}
        turns = [
            Turn([name for name in step.signals if name not in known], expanded(terms[step.term], self.parts))
            for step in plan.steps
        ]
        questions = Questions(self.signals, turns, self.keep_null, list(known))
        # What no term names is not asked about at all.
        blank = Scored(pa.nulls(corpus.table.num_rows, pa.float64()), 0.0)
        known |= {name: blank for name in self.signals if name not in known and name not in questions.asked}
        scored = {**known, **ask_all(questions, known, corpus, cache_dir, bar, watch, engine or Engine())}
        return self.decide(name, corpus.table, scored, [step.term for step in plan.steps])


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
                f"'{name}' is a part and has no score; only signals have one.",
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
