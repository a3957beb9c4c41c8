"""Select training rows with a filter expression, or select every row."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from winnow.data import Corpus
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.filters.batch_scoring import score_table
from winnow.filters.corpus_scoring import (
    BatchCallback,
    EngineOptions,
    SignalScores,
    build_progress_bar,
    load_cached_scores,
    score_signals,
)
from winnow.filters.decision_rule import DecisionRule
from winnow.filters.expression import Expression, Node, expand_parts
from winnow.filters.probe_word_overlap import (
    WordOverlap,
    find_overlap,
    list_mentioned_words,
    select_used_signals,
)
from winnow.filters.row_fractions import apply_fractions, check_fractions
from winnow.filters.scoring_engines import EngineName
from winnow.filters.scoring_planner import ScoringPlan
from winnow.filters.signals.signal import Signal, missing_package_errors
from winnow.filters.verdicts import Verdicts, count_verdicts
from winnow.untrusted_text import SafeName

# In Python, expressions can also be built by combining names with operators. Such expressions are stored as text.
_ExpressionText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, Expression) else value)]

ProgressCallback = Callable[[int, int, Mapping[str, Mapping[str, int]]], None]
"""A callback that takes the number of rows processed so far, the number of rows kept so far, and the number of rows
that ``pass``, ``fail`` or are ``null`` so far, by signal."""


class Selection(ABC):
    """Base class for selecting training rows. Held-out rows are never removed, only split into slices."""

    name: str

    @property
    def display_name(self) -> str:
        """The name to display: the label if one is set, otherwise the name."""
        return getattr(self, "label", None) or self.name

    @abstractmethod
    def compute_verdicts(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts | None:
        """Return the verdicts on all rows of a corpus, or None if the selection does not use verdicts."""

    @abstractmethod
    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the rows to train on, in corpus order.

        Args:
            train_rows: The rows of the train split.
            verdicts: The result of :meth:`compute_verdicts` for the same corpus.
            seed: The seed of the run; only random selections use it.
        """

    def derive_verdicts(self, verdicts: Verdicts) -> Verdicts:
        """Convert the result of :meth:`compute_verdicts` into the verdicts that this selection is based on."""
        return verdicts

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a 16-digit hex string that identifies all settings of the selection except its name."""

    def words(self) -> set[str]:
        """Return the words that are listed in the selection and searched for in the texts."""
        return set()

    def find_word_overlap(self, words: Collection[str]) -> WordOverlap:
        """Return the given words, such as a probe's words, that can affect which rows are selected."""
        return WordOverlap()

    def check(self) -> list[WinnowError]:
        """Return one error for each missing file or package that the selection requires."""
        return []


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Full(Selection):
    """A selection that keeps every row."""

    name: SafeName = "full"

    def compute_verdicts(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> None:
        """Return None, because all rows are kept regardless of verdicts."""

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return all rows."""
        return train_rows

    def fingerprint(self) -> str:
        """Return the same fingerprint for all instances."""
        return fingerprint("full")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Filter(Selection):
    """A selection of the rows for which an expression over signals is true.

    Attributes:
        name: The name of the filter.
        signals: Signals by name.
        keep: The expression. It can contain names of signals and parts, the operators ``&``, ``|``, ``^`` and ``~``,
            parentheses, score comparisons such as ``sentiment > 0.3``, ``known(sentiment)``, which is true if the
            signal has a score, and ``at_least(2, a, b, c)``. In Python, combine :class:`~winnow.filters.Name` objects
            with the same operators.
        parts: Named sub-expressions that ``keep`` and other parts can refer to.
        on_null: Whether to drop or keep a row for which ``keep`` is null, that is, neither true nor false.
        mode: ``full`` scores every row with every signal and caches the scores, so that all reasons and statistics are
            available. ``short_circuit`` keeps the same rows but stops scoring a row at the first term it fails. The
            terms that drop the most rows at the lowest cost are evaluated first. Only the first failed term is recorded
            as the reason for dropping a row, and the scores are not cached.
        engine: ``local`` scores in processes on this machine. ``ray`` uses Ray Data, either on the cluster specified by
            ``RAY_ADDRESS`` or on a new local cluster. Both engines return the same verdicts.
        processes: The number of scoring processes; ignored on an existing Ray cluster.
        label: The name to display. A sweep over a filter's settings sets the name and the label of each arm.
        sweep: The fraction of the training rows that the filter is to keep, by signal, such as ``{mood: 30%}``. The
            rows with the highest scores then pass the signal, regardless of the signal's own threshold.
    """

    name: SafeName
    signals: Annotated[dict[str, InstanceOf[Signal]], Field(min_length=1)]
    keep: _ExpressionText
    parts: dict[str, _ExpressionText] = Field(default_factory=dict)
    on_null: Literal["drop", "keep"] = "drop"
    mode: Literal["full", "short_circuit"] = "full"
    engine: EngineName = "local"
    processes: Annotated[int, Field(gt=0)] = 1
    label: str | None = None
    sweep: dict[str, str] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        self._decision_rule  # noqa: B018 - accessing the property checks the expressions
        check_fractions(self.sweep, self.signals, self.mode)

    def compute_verdicts(
        self,
        corpus: Corpus,
        cache_dir: Path,
        progress: bool = True,
        on_batch: ProgressCallback | None = None,
    ) -> Verdicts:
        """Score every row of every split and decide which rows to keep.

        Args:
            corpus: The rows.
            cache_dir: The cache folder of scores.
            progress: Whether to draw a progress bar on stderr.
            on_batch: Called after each batch with the counts so far.

        Raises:
            WinnowError: If the filter keeps none or all of the rows in the train split.
        """
        rule = self._decision_rule
        # Before all rows are scored, the thresholds of a sweep are unknown, so the kept rows cannot be counted.
        callback = _build_row_count_callback(rule, on_batch) if on_batch and not self.sweep else None
        engine = EngineOptions(self.engine, self.processes)
        if self.mode == "full":
            signal_scores = score_signals(self.signals, corpus, cache_dir, progress, callback, engine)
            scores = {name: column.scores for name, column in signal_scores.items()}
            replaced, thresholds = apply_fractions(rule, self.sweep, scores, corpus.table)
            verdicts = rule.build_verdicts(self.name, corpus.table, signal_scores, replaced=replaced)
            verdicts = dataclasses.replace(verdicts, thresholds=thresholds)
        else:
            cached = load_cached_scores(self.signals, corpus, cache_dir)
            with build_progress_bar(progress) as bar:
                verdicts = rule.score_with_short_circuit(self.name, corpus, cached, cache_dir, bar, callback, engine)
        self._check_not_trivial(verdicts)
        return verdicts

    def score_rows(self, rows: pa.Table) -> Verdicts:
        """Return the verdicts on new rows, without a cache. The decisions equal those of :meth:`compute_verdicts`.

        Args:
            rows: Rows of a corpus; there may be none.

        Raises:
            WinnowError: If a signal compares rows or the filter has ``sweep``.
        """
        comparing = [name for name, signal in self.signals.items() if signal.needs_all_rows]
        if comparing or self.sweep:
            raise WinnowError(
                f"expected decisions that depend only on the row, but {', '.join(comparing) or 'sweep'} compares rows. "
                "Remove it, or apply the filter to all rows with `winnow filter`.",
                key=f"signals.{comparing[0]}" if comparing else "sweep",
            )
        no_scores = SignalScores(pa.array([], pa.float64()), 0.0)
        scores = {
            name: SignalScores(*score_table(name, signal, rows)) if rows.num_rows else no_scores
            for name, signal in self.signals.items()
        }
        return self._decision_rule.build_verdicts(self.name, rows, scores)

    def plan(self, corpus: Corpus, cache_dir: Path) -> ScoringPlan:
        """Time the signals on a sample of rows, and return the cheapest order of terms with its expected cost.

        If the declared costs of the signals are low, :meth:`compute_verdicts` uses the declared costs instead of timing
        a sample.
        """
        return self._decision_rule.plan_from_sample(corpus.table, load_cached_scores(self.signals, corpus, cache_dir))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the kept rows."""
        if verdicts is None:
            raise ValueError(
                "Filter.select requires the filter's verdicts, got None. Pass the result of compute_verdicts."
            )
        kept_ids = verdicts.table.filter(verdicts.table["keep"])["row_id"]
        return train_rows.filter(pc.is_in(train_rows["row_id"], value_set=kept_ids.combine_chunks()))

    def fingerprint(self) -> str:
        """Return a fingerprint of the signals, their thresholds, the parts, the expression and the null policy."""
        signals = {name: [signal.fingerprint(), signal.thresholds()] for name, signal in self.signals.items()}
        sweep = [self.sweep] if self.sweep else []
        return fingerprint("filter", signals, self.parts, self.keep, self.on_null, *sweep)

    def words(self) -> set[str]:
        """Return all words listed in the ``Mentions`` signals that ``keep`` uses."""
        return list_mentioned_words(select_used_signals(self.signals, self.expression).values())

    def find_word_overlap(self, words: Collection[str]) -> WordOverlap:
        """Return the given words that affect the signals in ``keep``."""
        return find_overlap(words, self.signals, self.expression)

    @property
    def expression(self) -> Node:
        """The ``keep`` expression, with every part replaced by its definition."""
        rule = self._decision_rule
        return expand_parts(rule.keep, rule.parts)

    def check(self) -> list[WinnowError]:
        """Return the errors of all signals, plus an error if the engine is not installed."""
        engine_errors = missing_package_errors("ray", "ray", "the engine `ray`") if self.engine == "ray" else []
        return [error.with_prefix("engine") for error in engine_errors] + [
            error.with_prefix(f"signals.{name}") for name, signal in self.signals.items() for error in signal.check()
        ]

    @cached_property
    def _decision_rule(self) -> DecisionRule:
        return DecisionRule.parse(self.signals, self.parts, self.keep, self.on_null)

    def _check_not_trivial(self, verdicts: Verdicts) -> None:
        mask = verdicts.keep_mask("train")
        kept_rows, rows = int(mask.sum()), len(mask)
        if 0 < kept_rows < rows:
            return
        signals = verdicts.summary()["signals"]
        passes = ", ".join(f"{name} {counts['pass']:,}" for name, counts in signals.items())
        fix = "Loosen the expression, or the signal that passes the fewest rows"
        fix = fix if kept_rows == 0 else "Tighten the expression, or use `filter=full`"
        raise WinnowError(
            f"the filter '{self.name}' keeps {'all' if kept_rows else 'none'} of the {rows:,} training rows, so there "
            f"is nothing to compare. Expression: `{self.keep}`. Rows that pass each signal: {passes}. {fix}.",
            key="keep",
        )


def _build_row_count_callback(rule: DecisionRule, on_batch: ProgressCallback) -> BatchCallback:
    """Return a callback that takes a batch's scores and passes the row counts to ``on_batch``."""
    kept_rows = 0
    counts = {name: {"pass": 0, "fail": 0, "null": 0} for name in rule.signals}

    def callback(offset: int, scores: Mapping[str, pa.Array]) -> None:
        nonlocal kept_rows
        verdicts = {name: signal.keep(scores[name]) for name, signal in rule.signals.items()}
        mask = rule.keep_mask(scores, verdicts)
        kept_rows += int(mask.sum())
        for name, column in verdicts.items():
            for outcome, count in count_verdicts(column).items():
                counts[name][outcome] += count
        on_batch(offset + len(mask), kept_rows, counts)

    return callback
