"""Parse and check a filter's expressions, and apply them to scores to compute verdicts."""

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
from winnow.filters.batch_scoring import BatchScorer, ScoringStage, compute_keep_mask, score_table
from winnow.filters.corpus_scoring import (
    BatchCallback,
    EngineOptions,
    SignalScores,
    score_cross_row_signals,
    score_in_batches,
)
from winnow.filters.expression import (
    Known,
    Name,
    Node,
    evaluate,
    expand_parts,
    iter_names,
    measure_size,
    split_conjuncts,
)
from winnow.filters.expression_parser import build_position_error, parse
from winnow.filters.scoring_planner import MIN_SAMPLED_COST, Mask, ScoringPlan, plan_scoring, sample_row_indices
from winnow.filters.signals.signal import Signal
from winnow.filters.verdicts import Verdicts

if TYPE_CHECKING:
    from rich.progress import Progress

_MAX_LEAVES = 2_000
_MAX_DEPTH = 200
_RESERVED_NAMES = {"row_id", "split", "source", "label", "text", "keep"}


@dataclass(frozen=True)
class DecisionRule:
    """The parsed expressions of a filter; every name in them refers to a signal or a part.

    Attributes:
        signals: Signals by name.
        parts: Named sub-expressions, sorted so that each part comes after the parts it refers to.
        keep: The expression that decides whether a row is kept.
        keep_null: Whether a row is kept if ``keep`` is null.
    """

    signals: Mapping[str, Signal]
    parts: dict[str, Node]
    keep: Node
    keep_null: bool

    @classmethod
    def parse(cls, signals: Mapping[str, Signal], parts: Mapping[str, str], keep: str, on_null: str) -> DecisionRule:
        """Parse and check the expressions.

        Raises:
            WinnowError: If a name is invalid, unknown or already in use, if a part refers to itself, or if an
                expression cannot be parsed.
        """
        _check_names(signals, parts)
        part_nodes = {name: parse(text, f"parts.{name}") for name, text in parts.items()}
        keep_node = parse(keep, "keep")
        for name, node in part_nodes.items():
            _check_name_references(node, parts[name], f"parts.{name}", signals, parts)
        _check_name_references(keep_node, keep, "keep", signals, parts)
        sorted_parts = _sort_parts(part_nodes)
        _check_expanded_size(sorted_parts, keep_node)
        for name, signal in signals.items():
            keep_node = keep_node & Known(Name(name)) if signal.requires_score else keep_node
        return cls(signals, sorted_parts, keep_node, on_null == "keep")

    def build_verdicts(
        self,
        name: str,
        table: pa.Table,
        signal_scores: Mapping[str, SignalScores],
        term_order: Sequence[str] | None = None,
        replaced: Mapping[str, pa.Array] | None = None,
    ) -> Verdicts:
        """Return the verdicts on all rows of a corpus.

        Args:
            name: The filter's name.
            table: The rows.
            signal_scores: The scores of each signal, in corpus order.
            term_order: The terms in the order of evaluation if each term was evaluated only on the rows that passed
                all earlier terms; None if every signal scored every row.
            replaced: Verdicts to use instead of those that follow from the scores, by signal.
        """
        scores = {signal: column.scores for signal, column in signal_scores.items()}
        verdicts: dict[str, Any] = {signal: self.signals[signal].keep(scores[signal]) for signal in self.signals}
        verdicts |= replaced or {}
        columns: dict[str, Any] = {column: table[column] for column in ("row_id", "split", "source")}
        for signal in self.signals:
            columns |= {f"{signal}.score": scores[signal], f"{signal}.keep": verdicts[signal]}
        for part, node in self.parts.items():
            columns[part] = verdicts[part] = evaluate(node, verdicts, scores)
        columns["keep"] = pc.fill_null(evaluate(self.keep, verdicts, scores), self.keep_null)
        parts = {part: str(node) for part, node in self.parts.items()}
        seconds = {signal: column.seconds for signal, column in signal_scores.items()}
        order = None if term_order is None else list(term_order)
        return Verdicts(pa.table(columns), name, str(self.keep), parts, self.keep_null, seconds, order)

    def keep_mask(self, scores: Mapping[str, pa.Array], replaced: Mapping[str, pa.Array] | None = None) -> Mask:
        """Return the mask of the rows to keep, given the scores of each signal.

        Args:
            scores: The scores, by signal.
            replaced: Verdicts to use instead of those that follow from the scores, by signal.
        """
        verdicts = {signal: self.signals[signal].keep(scores[signal]) for signal in self.signals}
        verdicts |= replaced or {}
        for part, node in self.parts.items():
            verdicts[part] = evaluate(node, verdicts, scores)
        kept = pc.fill_null(evaluate(self.keep, verdicts, scores), self.keep_null)
        mask: Mask = kept.to_numpy(zero_copy_only=False)
        return mask

    def terms(self) -> dict[str, Node]:
        """Return the terms joined by ``&`` at the top level, by their text; a row is kept if it passes every term."""
        return {str(term): term for term in split_conjuncts(self.keep, self.parts)}

    def plan_from_sample(self, table: pa.Table, cached: Mapping[str, SignalScores]) -> ScoringPlan:
        """Time the signals on a sample of rows and return the cheapest order of terms; cached scores have no cost."""
        indices = sample_row_indices(table.num_rows)
        sample = table.take(pa.array(indices))
        scores, costs = {}, {}
        for name, signal in self.signals.items():
            if name in cached:
                scores[name], costs[name] = cached[name].scores.take(pa.array(indices)), 0.0
            else:
                score_table(name, signal, table.slice(0, 1))  # load the signal's model outside the timed call
                scores[name], seconds = score_table(name, signal, sample)
                costs[name] = 1e6 * seconds / len(indices)
        terms = {text: expand_parts(term, self.parts) for text, term in self.terms().items()}
        pass_masks = {
            text: compute_keep_mask(term, self.signals, scores, self.keep_null) for text, term in terms.items()
        }
        return plan_scoring(self._signals_by_term(), pass_masks, costs)

    def choose_plan(self, table: pa.Table, cached: Mapping[str, SignalScores]) -> ScoringPlan:
        """Return the cheapest order of terms, based on the timing of a sample or on the signals' declared costs.

        Declared costs are used if timing a sample would take longer than it saves.
        """
        costs = {name: 0.0 if name in cached else signal.cost for name, signal in self.signals.items()}
        if table.num_rows * sum(costs.values()) >= MIN_SAMPLED_COST:
            return self.plan_from_sample(table, cached)
        signals_by_term = self._signals_by_term()
        return plan_scoring(signals_by_term, dict.fromkeys(signals_by_term, np.array([True, False])), costs)

    def _signals_by_term(self) -> dict[str, frozenset[str]]:
        terms = {text: expand_parts(term, self.parts) for text, term in self.terms().items()}
        return {text: frozenset(name.name for name, _ in iter_names(term)) for text, term in terms.items()}

    def score_with_short_circuit(
        self,
        name: str,
        corpus: Corpus,
        cached: Mapping[str, SignalScores],
        cache_dir: Path,
        bar: Progress,
        on_batch: BatchCallback | None = None,
        engine: EngineOptions | None = None,
    ) -> Verdicts:
        """Score each row until a term drops the row, and return the verdicts.

        The kept rows are the same as in full mode.

        Args:
            name: The filter's name.
            corpus: The rows.
            cached: The scores that are already in the cache, by signal.
            cache_dir: The cache folder.
            bar: The progress bar to advance.
            on_batch: Called after each batch.
            engine: The engine; None scores in this process.
        """
        plan, terms = self.choose_plan(corpus.table, cached), self.terms()
        corpus.release()
        new_signals = {name: signal for name, signal in self.signals.items() if name not in cached}
        cached = {**cached, **score_cross_row_signals(new_signals, corpus.table, bar)}
        stages = [
            ScoringStage(
                [name for name in step.signals if name not in cached], expand_parts(terms[step.term], self.parts)
            )
            for step in plan.steps
        ]
        scorer = BatchScorer(self.signals, stages, self.keep_null, list(cached))
        # Signals that no term uses are not scored.
        no_scores = SignalScores(pa.nulls(corpus.table.num_rows, pa.float64()), 0.0)
        cached |= {name: no_scores for name in self.signals if name not in cached and name not in scorer.scored_signals}
        signal_scores = {**cached, **score_in_batches(scorer, cached, corpus, cache_dir, bar, on_batch, engine)}
        return self.build_verdicts(name, corpus.table, signal_scores, [step.term for step in plan.steps])


def _check_names(signals: Mapping[str, Signal], parts: Mapping[str, str]) -> None:
    for key, group in (("signals", signals), ("parts", parts)):
        for name in group:
            if not name.isidentifier() or name in _RESERVED_NAMES:
                raise WinnowError(
                    f"'{name}' is not a valid name. A name consists of letters, digits and underscores, does not start "
                    f"with a digit, and is not reserved ({', '.join(sorted(_RESERVED_NAMES))}). Choose another name.",
                    key=f"{key}.{name}",
                )
    for name in parts:
        if name in signals:
            raise WinnowError(
                f"'{name}' is also the name of a signal. Choose another name for the part.",
                key=f"parts.{name}",
            )


def _check_name_references(
    node: Node, text: str, key: str, signals: Mapping[str, Signal], parts: Mapping[str, str]
) -> None:
    for name, needs_score in iter_names(node):
        if needs_score and name.name in parts:
            message = f"'{name}' is a part, and only signals have scores. Use the name of a signal instead."
            raise build_position_error(text, key, name.position, message)
        if name.name not in signals and name.name not in parts:
            options = [*signals, *parts]
            hint = did_you_mean(name.name, options)
            message = (
                f"unknown signal or part '{name.name[:80]}'.{hint} Available: {', '.join(options)}. Correct the name."
            )
            raise build_position_error(text, key, name.position, message)


def _check_expanded_size(parts: Mapping[str, Node], keep: Node) -> None:
    """Check the size of each expression after its parts are expanded. Each part can double the size of the expression.

    Args:
        parts: The parts, sorted so that each part comes after the parts it refers to.
        keep: The `keep` expression.
    """
    sizes: dict[str, tuple[int, int]] = {}
    for key, node in [*((f"parts.{name}", node) for name, node in parts.items()), ("keep", keep)]:
        leaves, depth = sizes[key.removeprefix("parts.")] = measure_size(node, sizes)
        if leaves > _MAX_LEAVES or depth > _MAX_DEPTH:
            raise WinnowError(
                f"after its parts are expanded, the expression has {leaves:,} terms and is {depth} levels deep. "
                f"Allowed: at most {_MAX_LEAVES:,} terms and {_MAX_DEPTH} levels. Use fewer or shorter parts.",
                key=key,
            )


def _sort_parts(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Sort the parts topologically, so that each part comes after the parts it refers to."""
    sorted_parts: dict[str, Node] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            raise WinnowError(
                f"the part '{name}' refers to itself ({cycle}). Remove one of these references.",
                key=f"parts.{name}",
            )
        for reference, _ in iter_names(nodes[name]):
            if reference.name in nodes and reference.name not in sorted_parts:
                visit(reference.name, (*path, name))
        sorted_parts.setdefault(name, nodes[name])

    for name in nodes:
        visit(name, ())
    return sorted_parts
