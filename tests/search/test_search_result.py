"""The Pareto front of a search with two objectives, and the trial that is confirmed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow.search.objective import Objective
from winnow.search.search_result import SearchResult, select_finalists
from winnow.search.trial_store import Trial

OBJECTIVES = [Objective("probe/nike_wide/log_odds", True), Objective("validation/all/loss", False)]
POINTS = [(1.0, 2.00), (3.0, 2.04), (2.0, 2.06), (4.0, 2.30), (4.0, 2.40)]
"""The target and the cost of each trial."""


@pytest.fixture
def result() -> SearchResult:
    trials = [Trial(number, {"filter": "a"}, state="complete") for number in range(len(POINTS))]
    scores = {number: {101: point, 102: point} for number, point in enumerate(POINTS)}
    return SearchResult("x", OBJECTIVES, [*trials, Trial(5, {}, state="pruned")], scores, Path(), cost_margin=0.05)


def number_of(trial: Trial | None) -> int:
    assert trial is not None
    return trial.number


def test_the_best_target_within_the_cost_margin_is_confirmed(result: SearchResult) -> None:
    assert [trial.number for trial in result.pareto_front] == [0, 1, 3]
    assert number_of(result.winner) == 1
    assert result.choice.endswith("among the trials whose validation/all/loss is within 0.05 of the lowest")
    assert number_of(replace(result, cost_margin=0.07).winner) == 1
    assert number_of(replace(result, cost_margin=0.31).winner) == 3
    assert number_of(replace(result, cost_margin=None).winner) == 3
    assert number_of(replace(result, objectives=OBJECTIVES[:1]).winner) == 3


def test_the_user_can_choose_a_complete_trial(result: SearchResult) -> None:
    chosen = replace(result, chosen=3)
    assert number_of(chosen.winner) == 3
    assert chosen.choice == "choose=4"
    assert replace(result, chosen=5).winner is None


def test_finalists_are_affordable_and_the_winner_has_the_most_seeds(result: SearchResult) -> None:
    assert [trial.number for trial in result.finalists] == [1]
    assert (
        number_of(replace(result, scores={**result.scores, 0: {1: POINTS[0], 2: POINTS[0], 3: POINTS[0]}}).winner) == 0
    )
    expensive = {**result.scores, 3: dict.fromkeys(range(3), POINTS[3]), 4: dict.fromkeys(range(3), POINTS[4])}
    assert number_of(replace(result, scores=expensive).winner) == 3


def test_finalists_are_the_trials_close_to_the_best() -> None:
    scores = {0: {1: 1.0, 2: 1.2}, 1: {1: 1.1, 2: 1.0}, 2: {1: 0.1, 2: 0.3}, 3: {}}
    assert select_finalists(scores, maximize=True) == [0, 1]
    assert select_finalists(scores, maximize=False) == [2]
    assert select_finalists({0: {1: 1.0}, 1: {1: 2.0}}, maximize=True) == [1, 0]
