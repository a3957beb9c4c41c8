from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.small_corpus import CorpusOf
from winnow.filters import Filter, Length, Mentions, Signal, VaderSentiment, Verdicts
from winnow.filters.score_distributions import (
    compute_bin_edges,
    compute_drift,
    compute_drifts,
    compute_histograms,
    find_thresholds,
    get_scores,
    population_stability_index,
)

NAN = float("nan")


@pytest.fixture
def verdicts_of(corpus_of: CorpusOf, tmp_path: Path) -> Callable[..., Verdicts]:
    def compute_verdicts(texts: list[str], keep: str, **signals: Signal) -> Verdicts:
        return Filter(name="x", signals=signals, keep=keep).compute_verdicts(corpus_of(texts), tmp_path, progress=False)

    return compute_verdicts


def test_the_stability_index_matches_a_hand_calculation() -> None:
    # Three of four are 0 before, one of four after; half a row is added to each of two bins and to the null bin.
    p, q = np.array([3.5, 1.5, 0.5]) / 5.5, np.array([1.5, 3.5, 0.5]) / 5.5
    expected = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert population_stability_index(np.array([0.0, 0, 0, 1]), np.array([0.0, 1, 1, 1])) == pytest.approx(expected)
    scores = np.random.default_rng(0).normal(size=4_000)
    assert population_stability_index(scores, scores) == 0
    assert population_stability_index(scores[:2_000], scores[2_000:]) < 0.02
    assert population_stability_index(scores, scores + 1) > 0.5
    # Missing scores are a separate bin.
    assert population_stability_index(np.array([1.0, 1, 1, 1]), np.array([1.0, 1, NAN, NAN])) > 0.2


def test_the_earth_movers_distance_has_the_unit_of_the_score() -> None:
    scores = np.array([0.0, 2, 4, 6, NAN])
    result = compute_drift(scores, scores + 3)
    assert result["emd"] == pytest.approx(3)
    assert result["emd_sd"] == pytest.approx(3 / np.std([0, 2, 4, 6]))
    assert (result["mean_before"], result["mean_after"]) == (3, 6)
    assert compute_drift(scores, scores[:1])["emd"] == pytest.approx(3)
    assert compute_drift(np.array([1.0, 1]), np.array([1.0]))["emd_sd"] == 0
    assert set(compute_drift(scores, np.array([NAN])).values()) == {None}


def test_drift_by_filter_and_by_split(verdicts_of: Callable[..., Verdicts]) -> None:
    texts = [f"{'nike' if i % 2 else 'puma'} {'x' * (i % 9)}" for i in range(902)]
    result = compute_drifts(verdicts_of(texts, "nike", nike=Mentions(words=["nike"]), length=Length(at_least=1)))
    assert result["nike"]["kept"]["psi"] > 1
    assert result["nike"]["kept"]["mean_after"] == 1
    assert result["length"]["kept"]["psi"] < 0.01
    assert set(result["nike"]) == {"kept", "validation", "test"}


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
def test_cuts_are_the_thresholds_of_the_filter(
    verdicts_of: Callable[..., Verdicts], keep: str, signal: Signal, expected: list[tuple[float, bool | None]]
) -> None:
    verdicts = verdicts_of([*("x" * i for i in range(1, 9)), "x", "x"], keep, s=signal)
    result = find_thresholds(verdicts, "s", get_scores(verdicts, "s"))
    assert [(cut["at"], cut["pass_above"]) for cut in result] == expected


def test_a_cut_between_fractions_is_the_roundest_number(verdicts_of: Callable[..., Verdicts]) -> None:
    texts = ["great shoes", "awful shoes", "shoes", "nice", "bad", "praised for being ugly", "so good", "a", "b"]
    verdicts = verdicts_of(texts, "mood", mood=VaderSentiment())
    (cut,) = find_thresholds(verdicts, "mood", get_scores(verdicts, "mood"))
    assert cut == {"at": 0.0, "pass_above": True}
    assert str(cut["at"]) == "0.0"  # not -0.0


def test_histograms_match_hand_counts(verdicts_of: Callable[..., Verdicts]) -> None:
    texts = ["nike", "nike nike", "puma", "nike", "puma puma", "a", "b"]
    result = compute_histograms(
        verdicts_of(texts, "nike", nike=Mentions(words=["nike"]), puma=Mentions(words=["puma"]))
    )
    assert result["nike"] == {
        "edges": [-0.5, 0.5, 1.5, 2.5],
        "kept": [0, 2, 1],
        "dropped": [2, 0, 0],
        "null": 0,
        "whole": True,
        "outside": 0,
        "cuts": [{"at": 0.5, "pass_above": True}],
    }
    assert result["puma"]["kept"] == [3, 0, 0]


def test_a_long_tail_counts_in_the_last_bin(verdicts_of: Callable[..., Verdicts]) -> None:
    texts = [*("x" * (10 + i % 30) for i in range(2_000)), "x" * 9_000, "a", "b"]
    result: dict[str, Any] = compute_histograms(verdicts_of(texts, "length", length=Length(at_least=20)))["length"]
    assert result["outside"] == 1
    assert sum(result["kept"]) + sum(result["dropped"]) == 2_001
    assert result["edges"][-1] < 60
    assert result["kept"][-1] >= 1


def test_bins_of_fractions_have_equal_width() -> None:
    edges = compute_bin_edges(np.linspace(-1, 0.987, 500))
    assert len(edges) == 41
    assert (edges[0], edges[-1]) == (-1, 0.987)
    assert len(compute_bin_edges(np.array([0.3, 0.3]))) == 41
    cut = compute_bin_edges(np.linspace(-1, 0.987, 500), anchor=0.0)
    assert 0.0 in cut
    assert cut[0] <= -1
    assert cut[-1] > 0.987
    assert np.allclose(np.diff(cut), edges[1] - edges[0])
