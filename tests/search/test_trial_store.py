"""Trials in Optuna's storage: sampling, resuming, sharing between processes, and duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow.config import SearchRange
from winnow.errors import WinnowError
from winnow.search.search_space import build_distributions, find_space_errors
from winnow.search.trial_store import TrialStore

SPACE: dict[str, Any] = {"filter.keep": ["a & b", "a"], "optimizer.lr": SearchRange(1e-4, 1e-2, log=True)}


def open_store(folder: Path, space: dict[str, Any] | None = None, sampler: Any = "tpe", seed: int = 0) -> TrialStore:
    return TrialStore(None, "x", folder, build_distributions(space or SPACE), sampler, seed, [True], "f")


def run_trials(store: TrialStore, limit: int) -> None:
    while True:
        with store.acquire(limit, 1) as trials:
            if not trials:
                return
            store.finish(trials[0], trials[0].params["optimizer.lr"])


def test_a_killed_search_resumes_the_same_trials(tmp_path: Path) -> None:
    run_trials(complete := open_store(tmp_path / "complete"), 10)
    folder = tmp_path / "killed"
    for _ in range(3):  # each process ends without finishing its trial
        with open_store(folder).acquire(10, 1) as (trial,):
            assert trial.number == 0
    run_trials(open_store(folder), 4)
    with open_store(folder).acquire(10, 2):
        pass
    run_trials(resumed := open_store(folder), 10)
    assert [trial.overrides for trial in resumed.trials] == [trial.overrides for trial in complete.trials]
    assert [trial.score for trial in resumed.trials] == [trial.score for trial in complete.trials]


def test_two_processes_do_not_run_the_same_trial(tmp_path: Path) -> None:
    first, second = open_store(tmp_path), open_store(tmp_path)
    with first.acquire(3, 1) as (first_trial,), second.acquire(3, 5) as others:
        assert [first_trial.number, *(trial.number for trial in others)] == [0, 1, 2]
        with first.acquire(3, 1) as nothing:
            assert nothing == []


def test_settings_are_not_tried_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path, {"masking": ["default", "span"], "model.layers": SearchRange(1, 2)}, "random")
    with store.acquire(10, 10) as trials:
        assert len({tuple(trial.overrides) for trial in trials}) == len(trials) == 4


def test_a_failed_trial_is_not_repeated(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.acquire(1, 1) as (trial,):
        store.finish(trial, float("nan"))
    assert [trial.state for trial in store.trials] == ["failed"]
    with store.acquire(1, 1) as trials:
        assert trials == []


def test_a_search_with_other_settings_needs_another_name(tmp_path: Path) -> None:
    open_store(tmp_path)
    with pytest.raises(WinnowError, match="different search space"):
        TrialStore(None, "x", tmp_path, build_distributions(SPACE), "tpe", 0, [True], "another")


def test_invalid_ranges_and_keys_are_reported_together() -> None:
    space: dict[str, Any] = {"optimizer.lr": SearchRange(0.0, -1, log=True), "seed": [1, 2], "study.baseline": ["x"]}
    keys = [error.key for error in find_space_errors(space)]
    assert keys == ["space.optimizer.lr", "space.optimizer.lr", "space.seed", "space.study.baseline"]


def test_pruned_trials_are_kept_and_their_curves_do_not_change(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.acquire(2, 1) as (trial,):
        store.report(trial, {1: 0.5})
        store.report(trial, {1: 0.7, 2: 0.6})
        store.prune(trial)
    run_trials(resumed := open_store(tmp_path), 2)
    assert [trial.state for trial in resumed.trials] == ["pruned", "complete"]
    assert resumed.trials[0].curve == {1: 0.5, 2: 0.6}


def test_a_trial_with_two_objectives_has_the_score_of_the_target(tmp_path: Path) -> None:
    store = TrialStore(None, "x", tmp_path, build_distributions(SPACE), "tpe", 0, [True, False], "f")
    for scores in ((1.0, 2.0), (3.0, float("nan"))):
        with store.acquire(2, 1) as (trial,):
            store.finish(trial, *scores)
    complete, failed = store.trials
    assert (complete.state, complete.score, failed.state) == ("complete", 1.0, "failed")
