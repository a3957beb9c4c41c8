from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.small_corpus import CorpusOf
from winnow.filters import Filter, Length, Mentions, Signal, VaderSentiment, Verdicts
from winnow.filters.distributions import bin_edges, cuts, drift, drifts, histograms, numbers, stability_index

NAN = float("nan")


@pytest.fixture
def judged(corpus_of: CorpusOf, tmp_path: Path) -> Callable[..., Verdicts]:
    def judge(texts: list[str], keep: str, **signals: Signal) -> Verdicts:
        return Filter(name="x", signals=signals, keep=keep).judge(corpus_of(texts), tmp_path, progress=False)

    return judge


def test_the_stability_index_by_hand() -> None:
    # Three of four are 0 before, one of four after; half a row is added to each of two bins and to the null bin.
    p, q = np.array([3.5, 1.5, 0.5]) / 5.5, np.array([1.5, 3.5, 0.5]) / 5.5
    expected = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert stability_index(np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 1, 1])) == pytest.approx(expected)
    scores = np.random.default_rng(0).normal(size=4_000)
    assert stability_index(scores, scores) == 0
    assert stability_index(scores[:2_000], scores[2_000:]) < 0.02
    assert stability_index(scores, scores + 1) > 0.5
    # What cannot be said counts as a value of its own.
    assert stability_index(np.array([1.0, 1, 1, 1]), np.array([1.0, 1, NAN, NAN])) > 0.2


def test_the_earth_movers_distance_is_in_the_unit_of_the_score() -> None:
    scores = np.array([0.0, 2, 4, 6, NAN])
    found = drift(scores, scores + 3)
    assert found["emd"] == pytest.approx(3)
    assert found["emd_sd"] == pytest.approx(3 / np.std([0, 2, 4, 6]))
    assert (found["mean_before"], found["mean_after"]) == (3, 6)
    assert drift(scores, scores[:1])["emd"] == pytest.approx(3)
    assert drift(np.array([1.0, 1]), np.array([1.0]))["emd_sd"] == 0
    assert set(drift(scores, np.array([NAN])).values()) == {None}


def test_rows_moved_by_the_filter_and_by_the_split_are_told_apart(judged: Callable[..., Verdicts]) -> None:
    texts = [f"{'nike' if i % 2 else 'puma'} {'x' * (i % 9)}" for i in range(902)]
    found = drifts(judged(texts, "nike", nike=Mentions(words=["nike"]), length=Length(at_least=1)))
    assert found["nike"]["kept"]["psi"] > 1
    assert found["nike"]["kept"]["mean_after"] == 1
    assert found["length"]["kept"]["psi"] < 0.01
    assert set(found["nike"]) == {"kept", "validation", "test"}


@pytest.mark.parametrize(
    ("keep", "signal", "expected"),
    [
        ("s", Length(at_least=3, at_most=5), [(2.5, True), (5.5, False)]),
        ("~s", Length(at_least=3), [(2.5, True)]),
        ("s > 4.2", Length(at_least=3), [(4.2, True)]),
        ("s <= 4 | s == 6", Length(at_least=3), [(4, False), (6, None)]),
        ("s & s < 5.5", Length(at_least=3), [(2.5, True), (5.5, False)]),
    ],
)
def test_cuts_are_where_the_filter_changes_its_mind(
    judged: Callable[..., Verdicts], keep: str, signal: Signal, expected: list[tuple[float, bool | None]]
) -> None:
    verdicts = judged([*("x" * i for i in range(1, 9)), "x", "x"], keep, s=signal)
    found = cuts(verdicts, "s", numbers(verdicts, "s"))
    assert [(cut["at"], cut["pass_above"]) for cut in found] == expected


def test_a_cut_among_fractions_is_told_as_the_roundest_number(judged: Callable[..., Verdicts]) -> None:
    texts = ["great shoes", "awful shoes", "shoes", "nice", "bad", "praised for being ugly", "so good", "a", "b"]
    verdicts = judged(texts, "mood", mood=VaderSentiment())
    (cut,) = cuts(verdicts, "mood", numbers(verdicts, "mood"))
    assert cut == {"at": 0.0, "pass_above": True}
    assert str(cut["at"]) == "0.0"  # and not a negative nought


def test_histograms_by_hand(judged: Callable[..., Verdicts]) -> None:
    texts = ["nike", "nike nike", "puma", "nike", "puma puma", "a", "b"]
    found = histograms(judged(texts, "nike", nike=Mentions(words=["nike"]), puma=Mentions(words=["puma"])))
    assert found["nike"] == {
        "edges": [-0.5, 0.5, 1.5, 2.5],
        "kept": [0, 2, 1],
        "dropped": [2, 0, 0],
        "null": 0,
        "whole": True,
        "outside": 0,
        "cuts": [{"at": 0.5, "pass_above": True}],
    }
    assert found["puma"]["kept"] == [3, 0, 0]


def test_a_long_tail_goes_into_the_last_bin(judged: Callable[..., Verdicts]) -> None:
    texts = [*("x" * (10 + i % 30) for i in range(2_000)), "x" * 9_000, "a", "b"]
    found: dict[str, Any] = histograms(judged(texts, "length", length=Length(at_least=20)))["length"]
    assert found["outside"] == 1
    assert sum(found["kept"]) + sum(found["dropped"]) == 2_001
    assert found["edges"][-1] < 60
    assert found["kept"][-1] >= 1


def test_bins_of_fractions_have_one_width() -> None:
    edges = bin_edges(np.linspace(-1, 0.987, 500))
    assert len(edges) == 41
    assert (edges[0], edges[-1]) == (-1, 0.987)
    assert len(bin_edges(np.array([0.3, 0.3]))) == 41
    cut = bin_edges(np.linspace(-1, 0.987, 500), anchor=0.0)
    assert 0.0 in cut
    assert cut[0] <= -1
    assert cut[-1] > 0.987
    assert np.allclose(np.diff(cut), edges[1] - edges[0])
