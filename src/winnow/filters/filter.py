"""Which rows of the train split are trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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
from winnow.filters.decision import Decision
from winnow.filters.engines import EngineName
from winnow.filters.expression import Expression, Node, expanded
from winnow.filters.planner import Plan
from winnow.filters.scoring import Engine, Watch, cached_scores, progress_bar, score_signals
from winnow.filters.signals.mentions import Mentions
from winnow.filters.signals.signal import Signal, missing_package
from winnow.filters.verdicts import Verdicts

# Written as text, or in Python with operators on names; kept as text either way.
_Expression = Annotated[str, BeforeValidator(lambda given: str(given) if isinstance(given, Expression) else given)]


class Selection(ABC):
    """Chooses the rows to train on. Held-out rows are never thinned out; there verdicts only name slices."""

    name: str

    @abstractmethod
    def judge(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> Verdicts | None:
        """Return the verdicts on all rows of a corpus; None where the choice needs none."""

    @abstractmethod
    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the rows to train on, in corpus order.

        Args:
            train_rows: The train split of the corpus that was judged.
            verdicts: What :meth:`judge` gave.
            seed: The seed of the run; only a random choice looks at it.
        """

    def explained_by(self, verdicts: Verdicts) -> Verdicts:
        """Return the verdicts that explain the choice, given what :meth:`judge` gave."""
        return verdicts

    @abstractmethod
    def fingerprint(self) -> str:
        """Return 16 hex digits over everything that shapes the choice; the name is not part of it."""

    def words(self) -> set[str]:
        """Return the words that the choice is made by."""
        return set()

    def check(self) -> list[WinnowError]:
        """Return the faults of the world: files and packages that the choice needs and that are not there."""
        return []


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Full(Selection):
    """Every row."""

    name: Annotated[str, Field(min_length=1)] = "full"

    def judge(self, corpus: Corpus, cache_dir: Path, progress: bool = True) -> None:
        """Return nothing: no row is in question."""

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return all rows."""
        return train_rows

    def fingerprint(self) -> str:
        """Return a constant."""
        return fingerprint("full")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Filter(Selection):
    """Keeps the rows for which an expression over signals is true.

    Attributes:
        name: What the filter is called.
        signals: Signals by name.
        keep: The expression: names of signals and parts, ``&``, ``|``, ``^``, ``~``, parentheses,
            comparisons of a signal's score such as ``sentiment > 0.3``, ``known(sentiment)`` where it has a score,
            and ``at_least(2, a, b, c)``. In Python it may be built from :class:`~winnow.filters.Name` by the same
            operators.
        parts: Named expressions that ``keep`` and one another may use.
        on_null: What becomes of a row for which ``keep`` is null, neither true nor false.
        mode: ``full`` asks every signal about every row, so that all reasons and statistics are known, and keeps the
            scores. ``short_circuit`` keeps the same rows, but asks about a row only until a term drops it, the best
            bargains first; it tells one reason for each, and keeps no scores.
        engine: Who scores: ``local`` processes, or Ray Data (``ray``), in the cluster that ``RAY_ADDRESS`` names or in
            one that is started here. It changes no verdict.
        processes: How many processes score; a cluster that is there already has its own number.
    """

    name: Annotated[str, Field(min_length=1)]
    signals: Annotated[dict[str, InstanceOf[Signal]], Field(min_length=1)]
    keep: _Expression
    parts: dict[str, _Expression] = Field(default_factory=dict)
    on_null: Literal["drop", "keep"] = "drop"
    mode: Literal["full", "short_circuit"] = "full"
    engine: EngineName = "local"
    processes: Annotated[int, Field(gt=0)] = 1

    def __post_init__(self) -> None:
        self._decision  # noqa: B018 - parses and checks the expressions

    def judge(
        self,
        corpus: Corpus,
        cache_dir: Path,
        progress: bool = True,
        watch: Callable[[int, int], None] | None = None,
    ) -> Verdicts:
        """Score and decide every row of every split.

        Args:
            corpus: The rows.
            cache_dir: Where scores are kept.
            progress: Whether to draw a progress bar on stderr.
            watch: Told, after each batch, how many rows are judged so far and how many of them are kept.

        Raises:
            WinnowError: The filter keeps nothing or everything of the train split.
        """
        decision = self._decision
        told = _counting(decision, watch) if watch else None
        engine = Engine(self.engine, self.processes)
        if self.mode == "full":
            scored = score_signals(self.signals, corpus, cache_dir, progress, told, engine)
            verdicts = decision.decide(self.name, corpus.table, scored)
        else:
            known = cached_scores(self.signals, corpus, cache_dir)
            with progress_bar(progress) as bar:
                verdicts = decision.short_circuit(self.name, corpus, known, cache_dir, bar, told, engine)
        self._refuse_trivial(verdicts)
        return verdicts

    def plan(self, corpus: Corpus, cache_dir: Path) -> Plan:
        """Return the cheapest order of the terms and what it is expected to save, as a sample of the rows tells.

        Where all is declared to cost next to nothing, :meth:`judge` looks at no sample and asks by declared prices.
        """
        return self._decision.plan(corpus.table, cached_scores(self.signals, corpus, cache_dir))

    def select(self, train_rows: pa.Table, verdicts: Verdicts | None, seed: int) -> pa.Table:
        """Return the kept rows."""
        if verdicts is None:
            raise ValueError("a filter selects by its verdicts")
        kept = verdicts.table.filter(verdicts.table["keep"])["row_id"]
        return train_rows.filter(pc.is_in(train_rows["row_id"], value_set=kept.combine_chunks()))

    def fingerprint(self) -> str:
        """Return a fingerprint over signals with their thresholds, parts, expression and null policy."""
        signals = {name: [signal.fingerprint(), signal.thresholds()] for name, signal in self.signals.items()}
        return fingerprint("filter", signals, self.parts, self.keep, self.on_null)

    def words(self) -> set[str]:
        """Return all words that the ``Mentions`` signals list."""
        return {word for signal in self.signals.values() if isinstance(signal, Mentions) for word in signal.words}

    @property
    def expression(self) -> Node:
        """The expression that decides, with every part written out."""
        decision = self._decision
        return expanded(decision.keep, decision.parts)

    def check(self) -> list[WinnowError]:
        """Return the faults of all signals, and an engine that is not installed."""
        missing = missing_package("ray", "ray", "The engine `ray`") if self.engine == "ray" else []
        return [fault.under("engine") for fault in missing] + [
            fault.under(f"signals.{name}") for name, one in self.signals.items() for fault in one.check()
        ]

    @cached_property
    def _decision(self) -> Decision:
        return Decision.of(self.signals, self.parts, self.keep, self.on_null)

    def _refuse_trivial(self, verdicts: Verdicts) -> None:
        mask = verdicts.kept("train")
        kept, total = int(mask.sum()), len(mask)
        if 0 < kept < total:
            return
        signals = verdicts.summary()["signals"]
        passes = ", ".join(f"{name} {counts['pass']:,}" for name, counts in signals.items())
        advice = "Loosen it, or look at the signal that passes least" if kept == 0 else "Tighten it, or use `full`"
        share = "everything" if kept else "nothing"
        raise WinnowError(
            f"The filter '{self.name}' keeps {share} of the {total:,} train rows, so there is nothing "
            f"to compare. Its expression is `{self.keep}`; "
            f"rows that pass each signal: {passes}. {advice}.",
            key="keep",
        )


def _counting(decision: Decision, watch: Callable[[int, int], None]) -> Watch:
    """Turn the scores of batches into how many rows are judged and kept so far."""
    kept = 0

    def counted(first: int, scores: Mapping[str, pa.Array]) -> None:
        nonlocal kept
        mask = decision.keeps(scores)
        kept += int(mask.sum())
        watch(first + len(mask), kept)

    return counted
