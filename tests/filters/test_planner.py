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
from winnow.filters import Filter, Mentions, Signal, Verdicts, filter_statistics
from winnow.filters.batch_scoring import score_column
from winnow.filters.planner import make_plan
from winnow.filters.scoring import Scored, progress_bar


class Asked(Signal):
    """True, false or unknown by one character of the text; counts what it was asked."""

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 1.0

    def __init__(self, place: int) -> None:
        self.place = place
        self.rows = 0

    def settings(self) -> dict[str, Any]:
        return {"place": self.place}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        self.rows += len(texts)
        answers = {"0": 0.0, "1": 1.0}
        return pa.array([answers.get((text or "")[self.place]) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        return pc.greater(scores, 0.5)


class Dear(Asked):
    """One whose price is worth a look at a sample."""

    cost: ClassVar[float] = 5_000.0


def masks(*rows: str) -> dict[str, np.ndarray[Any, Any]]:
    return {"abcd"[i]: np.array([mark == "1" for mark in row]) for i, row in enumerate(rows)}


def test_the_best_bargain_comes_first() -> None:
    needs = {"a": frozenset("a"), "b": frozenset("b"), "c": frozenset("c")}
    passed = masks("1111111110", "1000000000", "1100000000")
    plan = make_plan(needs, passed, {"a": 1.0, "b": 90.0, "c": 10.0})
    assert [step.term for step in plan.steps] == ["a", "c", "b"]
    assert [step.reach for step in plan.steps] == [1.0, 0.9, 0.2]
    assert plan.full == 101
    assert plan.expected == pytest.approx(1 + 9 + 18)
    assert plan.saving == pytest.approx(1 - 28 / 101)


def test_a_signal_is_paid_for_once() -> None:
    needs = {"a | b": frozenset("ab"), "b": frozenset("b"), "~a": frozenset("a")}
    passed = {"a | b": masks("11110000")["a"], "b": masks("11111110")["a"], "~a": masks("00001111")["a"]}
    plan = make_plan(needs, passed, {"a": 5.0, "b": 50.0})
    assert [(step.term, step.signals, step.microseconds) for step in plan.steps] == [
        ("~a", ["a"], 5.0),
        ("a | b", ["b"], 50.0),
        ("b", [], 0.0),
    ]


def test_few_rows_left_of_a_sample_are_no_proof_that_a_term_drops_nothing() -> None:
    needs = {"a": frozenset("a"), "b": frozenset("b"), "c": frozenset("c")}
    # All rows that `a` leaves pass `b`, which drops half of the others, and only one fails the dear `c`.
    passed = masks("1100000000", "1111100000", "1011111111")
    assert [step.term for step in make_plan(needs, passed, {"a": 1.0, "b": 1.5, "c": 100.0}).steps] == ["a", "b", "c"]


EXPRESSIONS = ["a & b & c", "a & (b | ~c)", "~a & at_least(1, b, c)", "p & ~c", "a ^ b", "(a | b) & (b | c) & a < 0.5"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text("01?", min_size=3, max_size=3), min_size=8, max_size=40),
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(["drop", "keep"]),
    st.sampled_from([Asked, Dear]),
)
def test_both_modes_keep_the_same_rows(
    corpus_of: CorpusOf, rows: list[str], keep: str, on_null: Any, kind: type[Asked]
) -> None:
    corpus = corpus_of(rows)

    def judge(mode: Any) -> Verdicts:
        parts = {"p": "a & b"} if "p" in keep else {}
        signals = {name: kind(place) for place, name in enumerate("abc")}
        chosen = Filter(name="x", signals=signals, keep=keep, parts=parts, on_null=on_null, mode=mode)
        decision = chosen._decision()
        if mode == "full":
            scored = {name: Scored(*score_column(name, one, corpus.table)) for name, one in signals.items()}
            return decision.decide("x", corpus.table, scored)
        return decision.short_circuit("x", corpus, {}, Path(), progress_bar(False))

    full, short = judge("full"), judge("short_circuit")
    assert short.kept().tolist() == full.kept().tolist()
    every = full.reasons().to_pylist()
    for kept, first, all_of_them in zip(full.kept(), short.reasons().to_pylist(), every, strict=True):
        assert len(first) == (0 if kept else 1)
        assert set(first) <= set(all_of_them)


@pytest.mark.parametrize(
    ("kind", "sampled"),
    [(Dear, 47 + 1), (Asked, 0)],  # one row more than the sample, so that what is loaded once is not timed
)
def test_rows_that_are_decided_are_not_asked_about(
    corpus_of: CorpusOf, tmp_path: Path, kind: type[Asked], sampled: int
) -> None:
    rows = [f"{int(i % 10 == 0)}{int(i % 2 == 0)}" for i in range(3_000)]
    signals = {"common": kind(1), "rare": kind(0)}
    chosen = Filter(name="x", signals=signals, keep="common & rare", mode="short_circuit")
    corpus = corpus_of(rows)
    verdicts = chosen.judge(corpus, tmp_path, progress=False)
    assert sorted(signal.rows - sampled for signal in signals.values()) in ([300, 3_000], [1_500, 3_000])
    assert verdicts.kept().sum() == 300
    assert not list(tmp_path.rglob("*.parquet"))  # half a column is nothing to keep
    found = filter_statistics(verdicts, corpus)
    assert not {"signals", "pairs", "redundant", "reasons", "overlap", "histograms", "drift"} & set(found)
    assert all(set(counts) == {"drops"} for counts in found["terms"].values())
    verdicts.save(tmp_path / "verdicts")
    assert Verdicts.load(tmp_path / "verdicts").reasons().equals(verdicts.reasons())
    again = Filter(name="x", signals={"common": kind(1), "rare": kind(0)}, keep="common & rare")
    assert again.fingerprint() == chosen.fingerprint()


def test_few_cheap_rows_are_asked_by_declared_price_without_a_sample(corpus_of: CorpusOf, tmp_path: Path) -> None:
    class Dearer(Asked):
        cost: ClassVar[float] = 20.0

    signals = {"dear": Dearer(0), "cheap": Asked(1)}
    chosen = Filter(name="x", signals=signals, keep="dear & cheap", mode="short_circuit")
    verdicts = chosen.judge(corpus_of([f"{i % 3 and 1}{i % 2}" for i in range(600)]), tmp_path, progress=False)
    assert verdicts.asked == ["cheap", "dear"]
    assert (signals["cheap"].rows, signals["dear"].rows) == (600, 300)


def test_scores_on_disk_are_taken(corpus_of: CorpusOf, tmp_path: Path) -> None:
    corpus = corpus_of([f"{i % 2}{i % 3}" for i in range(600)])
    Filter(name="x", signals={"a": Asked(0)}, keep="a").judge(corpus, tmp_path, progress=False)
    signals = {"a": Asked(0), "b": Asked(1)}
    Filter(name="x", signals=signals, keep="a & b", mode="short_circuit").judge(corpus, tmp_path, progress=False)
    assert signals["a"].rows == 0


def test_a_fault_names_the_row_of_the_corpus(corpus_of: CorpusOf, tmp_path: Path) -> None:
    class Trouble(Asked):
        def score(self, texts: Sequence[str | None]) -> pa.Array:
            if "11!" in texts:
                raise ValueError("no")
            return super().score(texts)

    rows = ["00"] * 1_000 + ["11"] * 1_000 + ["11!"] + ["10"] * 1_000
    chosen = Filter(
        name="x", signals={"a": Mentions(words=["1"], whole_word=False), "b": Trouble(1)}, keep="a & b",
        mode="short_circuit",
    )  # fmt: skip
    with pytest.raises(WinnowError, match="raised ValueError on row 2,001 "):
        chosen.judge(corpus_of(rows), tmp_path, progress=False)
