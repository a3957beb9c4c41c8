from __future__ import annotations

import math

import pytest

from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.verdict import Finding, decide_outcome, decide_verdict
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
def test_each_outcome_follows_the_rule(metric: Metric, difference: float, p: float, word: str) -> None:
    assert decide_outcome(metric, difference, p, 0.05) == word


def build_finding(b: str, difference: float, p: float, margin: float | None = None) -> Finding:
    result = Contrast("f", b, difference, difference - 0.2, difference + 0.2, p, 0.1, 8, 5, 5, 40, 0, 1.0, {}, "all")
    equal = None if margin is None else result.lies_within(margin)
    return Finding(ODDS.name, "primary", result, p, decide_outcome(ODDS, difference, p, 0.05), (0, 1), 0.01, equal)


def decide(*findings: Finding, margin: float | None = None, **incomparable_reasons: str) -> tuple[str, str, str]:
    verdict = decide_verdict(ODDS, findings, ("f", "full", "random"), incomparable_reasons, 0.95, margin)
    return verdict.word, *verdict.sentences


def test_a_filter_better_than_baseline_and_control_is_better_because_of_its_rows() -> None:
    word, first, second = decide(build_finding("full", math.log(2), 0.001), build_finding("random", 0.6, 0.002))
    assert word == "better"
    assert "2.00 times" in first
    assert "it matters which rows are kept, not only how many" in second


def test_a_filter_better_than_the_baseline_only_may_be_better_because_of_its_size() -> None:
    word, first, second = decide(build_finding("full", 0.7, 0.001), build_finding("random", 0.1, 0.6))
    assert word == "better"
    assert first.startswith("The filter helped")
    assert "how many rows" in second


def test_a_large_p_value_is_not_reported_as_equality() -> None:
    word, first, _ = decide(build_finding("full", 0.1, 0.4), build_finding("random", 0.7, 0.01))
    assert word == "no clear difference"
    assert "does not prove equality" in first


def test_the_reasons_for_not_comparable_are_in_the_sentences() -> None:
    word, first, second = decide(
        full="the probes must be recorded and equal for all runs", random="random has no finished run"
    )
    assert word == "not comparable"
    assert "the probes must be recorded" in first
    assert "random has no finished run" in second


def test_equality_needs_a_declared_margin_and_the_whole_interval_within_it() -> None:
    for margin, text in (
        (0.4, "as good a model as training on all rows"),
        (0.25, "reaches beyond the declared margin of 0.250"),
    ):
        word, first, _ = decide(
            build_finding("full", 0.1, 0.4, margin), build_finding("random", 0.7, 0.01), margin=margin
        )
        assert word == "no clear difference"
        assert text in first


def test_a_clear_difference_within_the_margin_is_called_small() -> None:
    word, first, _ = decide(build_finding("full", 0.3, 0.001, 0.6), build_finding("random", 0.3, 0.01), margin=0.6)
    assert word == "better"
    assert "within the declared margin of 0.600" in first
