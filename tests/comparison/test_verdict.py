from __future__ import annotations

import math

import pytest

from winnow.comparison.statistics import Contrast
from winnow.comparison.verdict import Finding, decide, judge
from winnow.metrics import Metric

ODDS, LOSS = Metric("probe/nike_wide/log_odds"), Metric("test/all/loss")


@pytest.mark.parametrize(
    ("metric", "difference", "p", "word"),
    [
        (ODDS, 0.5, 0.01, "better"),
        (ODDS, -0.5, 0.01, "worse"),
        (LOSS, 0.5, 0.01, "worse"),
        (LOSS, -0.5, 0.05, "better"),
        (ODDS, 0.5, 0.051, "no clear difference"),
        (ODDS, 0.5, math.nan, "not comparable"),
    ],
)
def test_the_rule(metric: Metric, difference: float, p: float, word: str) -> None:
    assert judge(metric, difference, p, 0.05) == word


def finding(b: str, difference: float, p: float, margin: float | None = None) -> Finding:
    result = Contrast("f", b, difference, difference - 0.2, difference + 0.2, p, 0.1, 8, 5, 5, 40, 0, 1.0, {}, "all")
    equal = None if margin is None else result.within(margin)
    return Finding(ODDS.name, "primary", result, p, judge(ODDS, difference, p, 0.05), (0, 1), 0.01, equal)


def decided(*findings: Finding, margin: float | None = None, **obstacles: str) -> tuple[str, str, str]:
    verdict = decide(ODDS, findings, ("f", "full", "random"), obstacles, 0.95, margin)
    return verdict.word, *verdict.sentences


def test_a_filter_that_beats_both_is_better_because_of_what_it_kept() -> None:
    word, first, second = decided(finding("full", math.log(2), 0.001), finding("random", 0.6, 0.002))
    assert word == "better"
    assert "2.00 times" in first
    assert "which rows were kept matters" in second


def test_a_filter_that_only_beats_the_full_data_may_owe_it_to_size() -> None:
    word, first, second = decided(finding("full", 0.7, 0.001), finding("random", 0.1, 0.6))
    assert word == "better"
    assert first.startswith("The filter helped")
    assert "how many rows" in second


def test_a_large_p_is_never_told_as_equality() -> None:
    word, first, _ = decided(finding("full", 0.1, 0.4), finding("random", 0.7, 0.01))
    assert word == "no clear difference"
    assert "no proof of equality" in first


def test_what_is_missing_is_named() -> None:
    word, first, second = decided(full="the probes must be known and the same", random="random has no finished run")
    assert word == "not comparable"
    assert "the probes must be known" in first
    assert "random has no finished run" in second


def test_equality_needs_a_declared_margin_and_the_whole_interval_within_it() -> None:
    for margin, said in ((0.4, "as good a model as all rows"), (0.25, "reaches beyond the declared margin of 0.250")):
        word, first, _ = decided(finding("full", 0.1, 0.4, margin), finding("random", 0.7, 0.01), margin=margin)
        assert word == "no clear difference"
        assert said in first


def test_a_clear_difference_within_the_margin_is_called_small() -> None:
    word, first, _ = decided(finding("full", 0.3, 0.001, 0.6), finding("random", 0.3, 0.01), margin=0.6)
    assert word == "better"
    assert "within the margin of 0.600 declared not to matter" in first
