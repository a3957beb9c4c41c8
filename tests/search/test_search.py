"""Real searches with tiny models: the evidence of the trials, the confirmation, and resuming."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from winnow.cli import main
from winnow.config import SearchConfig, SearchRange
from winnow.errors import WinnowErrors
from winnow.evaluation import Probe
from winnow.run import evaluate
from winnow.search.search_runner import Search
from winnow.search.trial_cells import CellComposer
from winnow.search.trial_store import TrialStore
from winnow.studies.job import Job, run_job
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import CELL_RUN_FILTER, read_run_metrics, search_runs

GOOD_FIRST = 2
"""A seed of the sampler that returns the first of two values in the first trial."""

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
    arguments = [*arguments, "objectives=[probe/nike_wide/log_odds,validation/all/loss]", "cost_margin=9"]
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
    assert result["winner"] == best["number"]
    assert best["number"] in result["pareto_front"]
    assert all(trial["costs"]["11"] == trial["cost"] for trial in result["trials"])
    assert comparison["search"]["search_score"] == best["score"]
    confirmed = comparison["arms"]["nike_positive"]["mean"]
    assert comparison["search"]["optimism"] == pytest.approx(best["score"] - confirmed)
    assert comparison["search"]["sentence"] in (workplace / "outputs/x-search/report.md").read_text()
    assert comparison["search"]["sentence"] in comparison["notes"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["confirmation_seeds=[1,11]"], "confirmation_seeds: the seeds 11 are also used by the trials"),
        (["objectives=[test/all/loss]"], "objectives: expected a metric on validation data"),
        (["objectives=[probe/nike/log_odds]", "probe=[nike]"], "has too few templates for separate validation"),
        (["objectives=[validation/all/rows]"], "expected a metric with a direction"),
        (["optimizer.lr=1,2"], "optimizer.lr: expected one value, got 1,2"),
        (["trials=0"], "trials: got 0"),
        (
            ["pruner=median", "objectives=[validation/all/top1]"],
            "pruner: expected none, got median: validation/all/top1",
        ),
        (
            ["pruner=median", "objectives=[validation/all/top1,validation/all/loss]"],
            "with two objectives has no single",
        ),
    ],
)
def test_errors_are_reported_before_any_training(
    arguments: list[str], overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *overrides]) == 1
    assert message in capsys.readouterr().err.replace("\n    ", "")


@pytest.mark.slow
def test_a_pruned_trial_is_not_repeated_after_an_interruption_and_its_run_can_resume(
    arguments: list[str], store: Store, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "conf/space/strength.yaml").write_text("optimizer.lr: [3.0e-3, 1.0e-12]\n", encoding="utf-8")
    monkeypatch.setattr("winnow.run.pruning.MIN_CURVES", 1)
    prune = TrialStore.prune

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    search = [*arguments, "filter=nike_positive", "objectives=[validation/all/loss]", "pruner=median", "confirm=false"]
    search += ["trial_seeds=[11,12]", "max_trial_seeds=2", "training.max_steps=6", f"sampler_seed={GOOD_FIRST}"]
    monkeypatch.setattr(TrialStore, "prune", interrupt)
    assert main(search) == 130
    monkeypatch.setattr(TrialStore, "prune", prune)
    assert main(search) == 0
    result = json.loads((workplace / "outputs/x-search/search.json").read_text())
    assert [trial["state"] for trial in result["trials"]] == ["complete", "pruned"]
    assert (result["winner"], list(result["trials"][1]["curve"])) == (0, ["2"])
    assert "2 trials (1 pruned). Trial 1 was chosen" in (workplace / "outputs/x-search/report.md").read_text()
    runs = search_runs(store.client(), [store.experiment("x-search")], CELL_RUN_FILTER)
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED", "KILLED"]
    (pruned,) = (run for run in runs if run.info.status == "KILLED")
    assert (pruned.data.tags[keys.PRUNED], pruned.data.tags[keys.SEED]) == ("2", "11")

    (checkpoint,) = workplace.glob("outputs/x-search/cells/*/last.ckpt")
    job = Job.load(checkpoint.with_name("job.yaml"))
    assert job.pruning is not None
    assert run_job(dataclasses.replace(job, pruning=None))
    resumed = store.client().get_run(pruned.info.run_id)
    assert (resumed.info.status, keys.PRUNED in resumed.data.tags) == ("FINISHED", False)


def test_the_crash_report_of_a_search_is_in_its_output_folder(
    arguments: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Search, "run", crash)
    assert main(arguments) == 1
    (log,) = (workplace / "outputs/errors").glob("*.log")
    assert str(log) in capsys.readouterr().err


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
