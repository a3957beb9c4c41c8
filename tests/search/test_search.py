"""Real searches with tiny models: the evidence of the trials, the confirmation, and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.config import SearchConfig, SearchRange
from winnow.errors import WinnowErrors
from winnow.evaluation import Probe
from winnow.run import evaluate
from winnow.search.trial_cells import CellComposer
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics, search_runs

SPACE = """
filter: [nike_positive]
filter.signals.sentiment.at_least: {low: 0.0, high: 0.6}
"""


@pytest.fixture
def arguments(workplace: Path, small: list[str]) -> list[str]:
    (workplace / "conf/space").mkdir(parents=True)
    (workplace / "conf/space/strength.yaml").write_text(SPACE, encoding="utf-8")
    search = ["space=strength", "trials=2", "trial_seeds=[11]", "max_trial_seeds=1", "confirmation_seeds=[1,2]"]
    fast = ["training.max_steps=2", "evaluation.pseudo_likelihood_rows=null", "launcher=in_process"]
    return ["search", *search, *small, *fast, "probe=[nike_wide]", "study.name=x", "study.controls=none"]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the split of everything that a model scores, including single prompts."""
    splits: list[str] = []
    score_split, run = evaluate.score_split, Probe.run

    def record_rows(split: Any, *args: Any, **kwargs: Any) -> Any:
        splits.append(split.name)
        splits.extend(set(split.rows["split"].to_pylist()))
        return score_split(split, *args, **kwargs)

    def record_prompts(self: Any, *args: Any, **kwargs: Any) -> Any:
        scores = run(self, *args, **kwargs)
        splits.extend(set(scores.prompts["split"].to_pylist()))
        return scores

    monkeypatch.setattr(evaluate, "score_split", record_rows)
    monkeypatch.setattr(Probe, "run", record_prompts)
    return splits


@pytest.mark.slow
def test_trials_use_validation_data_only_and_the_confirmation_states_the_optimism(
    arguments: list[str], evaluated: list[str], store: Store, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "confirm=false"]) == 0
    assert set(evaluated) == {"validation"}
    runs = search_runs(store.client(), [store.experiment("x-search")])
    trials = [run for run in runs if run.data.tags[keys.KIND] == "cell"]
    assert sorted(run.data.tags[keys.TRIAL] for run in trials) == ["0", "1"]
    assert all(run.data.tags["mlflow.parentRunId"] for run in trials)
    for run in trials:
        assert "evaluated on the validation split only" in run.data.tags[keys.NOT_COMPARABLE]
        models = [
            name for name in read_run_metrics(store.client(), run) if not name.startswith(("data/leakage/", "drift/"))
        ]
        assert not [name for name in models if "test/" in name]

    evaluated.clear()
    assert main(arguments) == 0  # the trials are finished, so only the confirmation is trained
    assert "test" in evaluated
    again = search_runs(store.client(), [store.experiment("x-search")])
    assert len(again) == len(runs)
    printed = capsys.readouterr().out
    assert "The optimism of the search is" in printed
    comparison = json.loads((workplace / "outputs/x/comparison/comparison.json").read_text())
    result = json.loads((workplace / "outputs/x-search/search.json").read_text())
    best = max(result["trials"], key=lambda trial: trial["score"])
    assert comparison["search"]["search_score"] == best["score"]
    confirmed = comparison["arms"]["nike_positive"]["mean"]
    assert comparison["search"]["optimism"] == pytest.approx(best["score"] - confirmed)
    assert comparison["search"]["sentence"] in (workplace / "outputs/x-search/report.md").read_text()
    assert comparison["search"]["sentence"] in comparison["notes"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["confirmation_seeds=[1,11]"], "confirmation_seeds: the seeds 11 are also used by the trials"),
        (["objective=test/all/loss"], "objective: expected a metric on validation data"),
        (["objective=probe/nike/log_odds", "probe=[nike]"], "has too few templates for separate validation"),
        (["objective=validation/all/rows"], "expected a metric with a direction"),
        (["optimizer.lr=1,2"], "optimizer.lr: expected one value, got 1,2"),
        (["trials=0"], "trials: got 0"),
    ],
)
def test_errors_are_reported_before_any_training(
    arguments: list[str], overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *overrides]) == 1
    assert message in capsys.readouterr().err.replace("\n    ", "")


def test_every_value_of_the_space_is_checked(workplace: Path) -> None:
    space = {
        "filter": ["nike_positive"],
        "filter.keep": ["praise", "praise &"],
        "optimizer.lr": SearchRange(-1.0, 0.1),
    }
    with pytest.raises(WinnowErrors) as raised:
        CellComposer(SearchConfig(space=space), []).compose_base()
    assert "optimizer.lr" in str(raised.value)


def test_evaluate_has_no_validation_only_mode(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "x", "evaluation.validation_only=true"]) == 1
    assert "evaluation.validation_only: this key only applies to winnow train." in capsys.readouterr().err
