from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.endpoints import CostEndpoint, TargetEndpoint
from winnow.comparison.findings import Finding, decide_outcome
from winnow.comparison.interim_looks import LookResult
from winnow.comparison.verdict_details import (
    describe_control,
    describe_cost,
    describe_earlier_look,
    describe_target,
)
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


def build_result(a: str, b: str, difference: float, p: float = 0.01) -> Contrast:
    return Contrast(a, b, difference, difference - 0.2, difference + 0.2, p, 0.1, 8, 5, 5, 40, 0, 1.0, {}, "all")


def build_finding(b: str, difference: float, p: float, margin: float | None = None) -> Finding:
    result = build_result("f", b, difference, p)
    equal = None if margin is None else result.lies_within(margin)
    return Finding(ODDS.name, "primary", result, p, decide_outcome(ODDS, difference, p, 0.05), (0, 1), 0.01, equal)


def describe(effect: Finding | None, control: Finding | None, size: Contrast | None) -> str:
    return describe_control(effect, control, size, "full", "random has no finished run")


def test_the_effect_is_stated_as_an_odds_ratio() -> None:
    assert "2.00 times" in describe_target(ODDS, build_finding("full", math.log(2), 0.001), 0.95, None)
    assert describe_target(ODDS, build_finding("full", -1.0, 0.001), 0.95, None).startswith("Target: after training")


def test_the_intervals_of_an_interim_look_have_its_coverage() -> None:
    assert "98.75% interval" in describe_target(ODDS, build_finding("full", 1.0, 0.001), 0.9875, None)


def test_a_negative_cost_is_an_improvement() -> None:
    cost = CostEndpoint(
        metric=LOSS.name, estimate=-0.02, interval=(-0.05, -0.01), p=0.001, margin=0.05, verdict="within margin"
    )
    text = describe_cost(cost, LOSS, 0.95)
    assert text.startswith("Cost: loss on test is better by 0.0200 nats per masked token (95% interval of the cost ")
    text = describe_cost(replace(cost, interval=(-0.05, 0.01)), LOSS, 0.95)
    assert text.startswith("Cost: loss on test differs by 0.0200 nats per masked token (95% interval of the cost ")


@pytest.mark.parametrize(
    ("verdict", "text"),
    [("better", "'better' is the result of the interim look"), ("worse", "which this comparison contradicts")],
)
def test_the_result_of_an_earlier_look_is_described(verdict: Any, text: str) -> None:
    target = TargetEndpoint(verdict=verdict, earlier_look=LookResult(5, "better", 0.001, 0.0125))
    assert text in describe_earlier_look(target, verdict)


def test_which_rows_are_kept_is_claimed_together_with_the_effect_of_their_number() -> None:
    better = build_finding("full", 0.7, 0.001), build_finding("random", 0.6, 0.002)
    assert describe(*better, build_result("random", "full", 0.1)) == (
        "f is better than random, which trains on the same number of random rows, so it matters which rows are kept. "
        "Reducing the number of rows alone has no clear effect (random - full: 0.100, interval \u22120.10 to 0.30)."
    )
    assert describe(*better, build_result("random", "full", -0.5)).endswith(
        " Reducing the number of rows alone also has an effect "
        "(random - full: \u22120.500, interval \u22120.70 to \u22120.30)."
    )
    assert "the random control and full were not compared" in describe(*better, None)


def test_which_rows_are_kept_is_not_claimed_without_an_effect_against_the_control() -> None:
    text = describe(
        build_finding("full", 0.7, 0.001), build_finding("random", 0.1, 0.6), build_result("random", "full", 0.6)
    )
    assert "it matters which rows are kept" not in text
    assert "may come from how many rows are kept rather than from which rows. Reducing the number" in text
    assert describe(build_finding("full", 0.7, 0.001), None, None).endswith(
        "remains unknown: random has no finished run."
    )


def test_a_large_p_value_is_not_reported_as_equality() -> None:
    text = describe_target(ODDS, build_finding("full", 0.1, 0.4), 0.95, None)
    assert "does not show that the two are equivalent" in text


def test_equality_needs_a_declared_margin_and_the_whole_interval_within_it() -> None:
    for margin, text in (
        (0.4, "as good a model as training on all rows"),
        (0.25, "reaches beyond the declared margin of 0.250"),
    ):
        assert text in describe_target(ODDS, build_finding("full", 0.1, 0.4, margin), 0.95, margin)


def test_a_clear_difference_within_the_margin_is_called_small() -> None:
    text = describe_target(ODDS, build_finding("full", 0.3, 0.001, 0.6), 0.95, 0.6)
    assert "within the declared margin of 0.600" in text
