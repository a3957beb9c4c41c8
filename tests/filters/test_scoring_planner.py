from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.small_corpus import CorpusOf
from winnow.errors import WinnowError
from winnow.filters import Filter, Mentions, Signal, Verdicts, compute_filter_statistics
from winnow.filters.batch_scoring import score_table
from winnow.filters.corpus_scoring import SignalScores, build_progress_bar
from winnow.filters.scoring_planner import plan_scoring


class CharacterSignal(Signal):
    """True, false or null by one character of the text; counts the rows it scores."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def __init__(self, index: int) -> None:
        self.index = index
        self.rows = 0

    def settings(self) -> dict[str, Any]:
        return {"index": self.index}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        self.rows += len(texts)
        values = {"0": 0.0, "1": 1.0}
        return pa.array([values.get((text or "")[self.index]) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 0.5)


class ExpensiveSignal(CharacterSignal):
    """Costs enough for a sample to pay off."""

    cost: ClassVar[float] = 5_000.0


def masks(*rows: str) -> dict[str, np.ndarray[Any, Any]]:
    return {"abcd"[i]: np.array([mark == "1" for mark in row]) for i, row in enumerate(rows)}


def test_the_lowest_cost_per_dropped_row_comes_first() -> None:
    needs = {"a": frozenset("a"), "b": frozenset("b"), "c": frozenset("c")}
    passed = masks("1111111110", "1000000000", "1100000000")
    plan = plan_scoring(needs, passed, {"a": 1.0, "b": 90.0, "c": 10.0})
    assert [step.term for step in plan.steps] == ["a", "c", "b"]
    assert [step.remaining_fraction for step in plan.steps] == [1.0, 0.9, 0.2]
    assert plan.full_cost == 101
    assert plan.expected_cost == pytest.approx(1 + 9 + 18)
    assert plan.saved_fraction == pytest.approx(1 - 28 / 101)


def test_a_shared_signal_costs_only_once() -> None:
    needs = {"a | b": frozenset("ab"), "b": frozenset("b"), "~a": frozenset("a")}
    passed = {"a | b": masks("11110000")["a"], "b": masks("11111110")["a"], "~a": masks("00001111")["a"]}
    plan = plan_scoring(needs, passed, {"a": 5.0, "b": 50.0})
    assert [(step.term, step.signals, step.microseconds) for step in plan.steps] == [
        ("~a", ["a"], 5.0),
        ("a | b", ["b"], 50.0),
        ("b", [], 0.0),
    ]


def test_a_small_remaining_sample_does_not_prove_that_a_term_drops_nothing() -> None:
    needs = {"a": frozenset("a"), "b": frozenset("b"), "c": frozenset("c")}
    # All rows that pass `a` also pass `b`, which drops half of the others; only one row fails the expensive `c`.
    passed = masks("1100000000", "1111100000", "1011111111")
    assert [step.term for step in plan_scoring(needs, passed, {"a": 1.0, "b": 1.5, "c": 100.0}).steps] == [
        "a",
        "b",
        "c",
    ]


EXPRESSIONS = ["a & b & c", "a & (b | ~c)", "~a & at_least(1, b, c)", "p & ~c", "a ^ b", "(a | b) & (b | c) & a < 0.5"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text("01?", min_size=3, max_size=3), min_size=8, max_size=40),
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(["drop", "keep"]),
    st.sampled_from([CharacterSignal, ExpensiveSignal]),
)
def test_both_modes_keep_the_same_rows(
    corpus_of: CorpusOf, rows: list[str], keep: str, on_null: Any, signal: type[CharacterSignal]
) -> None:
    corpus = corpus_of(rows)

    def compute_verdicts(mode: Any) -> Verdicts:
        parts = {"p": "a & b"} if "p" in keep else {}
        signals = {name: signal(index) for index, name in enumerate("abc")}
        filter_ = Filter(name="x", signals=signals, keep=keep, parts=parts, on_null=on_null, mode=mode)
        rule = filter_._decision_rule
        if mode == "full":
            scored = {name: SignalScores(*score_table(name, scorer, corpus.table)) for name, scorer in signals.items()}
            return rule.build_verdicts("x", corpus.table, scored)
        return rule.score_with_short_circuit("x", corpus, {}, Path(), build_progress_bar(False))

    full, short = compute_verdicts("full"), compute_verdicts("short_circuit")
    assert short.keep_mask().tolist() == full.keep_mask().tolist()
    all_reasons = full.reasons().to_pylist()
    for kept, first, reasons in zip(full.keep_mask(), short.reasons().to_pylist(), all_reasons, strict=True):
        assert len(first) == (0 if kept else 1)
        assert set(first) <= set(reasons)


@pytest.mark.parametrize(
    ("signal", "sampled"),
    [
        (ExpensiveSignal, 47 + 1),
        (CharacterSignal, 0),
    ],  # one more row than the sample, because the first call is not timed
)
def test_dropped_rows_are_not_scored_again(
    corpus_of: CorpusOf, tmp_path: Path, signal: type[CharacterSignal], sampled: int
) -> None:
    rows = [f"{int(i % 10 == 0)}{int(i % 2 == 0)}" for i in range(3_000)]
    signals = {"common": signal(1), "rare": signal(0)}
    filter_ = Filter(name="x", signals=signals, keep="common & rare", mode="short_circuit")
    corpus = corpus_of(rows)
    verdicts = filter_.compute_verdicts(corpus, tmp_path, progress=False)
    assert sorted(scorer.rows - sampled for scorer in signals.values()) in ([300, 3_000], [1_500, 3_000])
    assert verdicts.keep_mask().sum() == 300
    assert not list(tmp_path.rglob("*.parquet"))  # partial scores are not cached
    statistics = compute_filter_statistics(verdicts, corpus)
    assert not {"signals", "pairs", "redundant", "reasons", "overlap", "histograms", "drift"} & set(statistics)
    assert all(set(counts) == {"drops"} for counts in statistics["terms"].values())
    verdicts.save(tmp_path / "verdicts")
    assert Verdicts.load(tmp_path / "verdicts").reasons().equals(verdicts.reasons())
    full_mode = Filter(name="x", signals={"common": signal(1), "rare": signal(0)}, keep="common & rare")
    assert full_mode.fingerprint() == filter_.fingerprint()


def test_a_cheap_filter_is_planned_by_declared_costs_without_a_sample(corpus_of: CorpusOf, tmp_path: Path) -> None:
    class PricierSignal(CharacterSignal):
        cost: ClassVar[float] = 20.0

    signals = {"expensive": PricierSignal(0), "cheap": CharacterSignal(1)}
    filter_ = Filter(name="x", signals=signals, keep="expensive & cheap", mode="short_circuit")
    verdicts = filter_.compute_verdicts(
        corpus_of([f"{i % 3 and 1}{i % 2}" for i in range(600)]), tmp_path, progress=False
    )
    assert verdicts.term_order == ["cheap", "expensive"]
    assert (signals["cheap"].rows, signals["expensive"].rows) == (600, 300)


def test_cached_scores_are_used(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"{i % 2}{i % 3}" for i in range(600)])
    Filter(name="x", signals={"a": CharacterSignal(0)}, keep="a").compute_verdicts(corpus, tmp_path, progress=False)
    signals = {"a": CharacterSignal(0), "b": CharacterSignal(1)}
    Filter(name="x", signals=signals, keep="a & b", mode="short_circuit").compute_verdicts(
        corpus, tmp_path, progress=False
    )
    assert signals["a"].rows == 0


def test_an_error_names_the_row_of_the_corpus(corpus_of: CorpusOf, tmp_path: Path) -> None:
    class FailingSignal(CharacterSignal):
        def score(self, texts: Sequence[str | None]) -> pa.Array:
            if "11!" in texts:
                raise ValueError("no")
            return super().score(texts)

    rows = ["00"] * 1_000 + ["11"] * 1_000 + ["11!"] + ["10"] * 1_000
    filter_ = Filter(
        name="x", signals={"a": Mentions(words=["1"], whole_word=False), "b": FailingSignal(1)}, keep="a & b",
        mode="short_circuit",
    )  # fmt: skip
    with pytest.raises(WinnowError, match="raised ValueError on row 2,001 "):
        filter_.compute_verdicts(corpus_of(rows), tmp_path, progress=False)
