"""A study over a factor, from the command line to the store."""

import json
from pathlib import Path

import pytest

from fixtures.tracked_runs import Runs
from winnow.cli import main
from winnow.comparison import collect_study
from winnow.tracking import Store, keys
from winnow.tracking.mlflow_ui import ARMS_VIEW_TAG, FACTORS_VIEW_TAG, RUNS_VIEW_TAG


@pytest.mark.slow
def test_a_factor_is_part_of_each_run_and_of_the_declaration(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    sweep = ["train", "-m", "optimizer.lr=1e-4,1e-3", "seed=1", "study.name=mine"]
    assert main([*sweep, *small]) == 0
    assert "factor    optimizer.lr: 1e-4, 1e-3" in capsys.readouterr().out
    finished = runs()
    assert {run.info.run_name for run in finished} == {f"full, optimizer.lr={lr}, seed 1" for lr in ("1e-4", "1e-3")}
    assert {run.data.tags[f"{keys.FACTOR_PREFIX}optimizer.lr"] for run in finished} == {"1e-4", "1e-3"}
    study = collect_study(store.tracking_uri, "mine")
    assert study.declaration.factors == {"optimizer.lr": ("1e-4", "1e-3")}
    assert list(study.levels) == ["optimizer.lr=1e-4", "optimizer.lr=1e-3"]
    assert (len(study.runs), len(study.cells)) == (2, 1)
    tags = store.client().get_experiment_by_name("mine").tags
    assert "winnow.factor.optimizer.lr" in tags[RUNS_VIEW_TAG]
    assert '"groupByData": "winnow.arm"' in tags[ARMS_VIEW_TAG]
    (chart,) = json.loads(tags[FACTORS_VIEW_TAG])["compareRunCharts"]
    assert chart["selectedParams"] == ["arm", "factors.optimizer.lr"]
    for run in finished:
        assert run.data.params["arm"] == "full"
        assert run.data.params["factors.optimizer.lr"] == run.data.tags[f"{keys.FACTOR_PREFIX}optimizer.lr"]
        assert set(chart["selectedMetrics"]) <= set(run.data.metrics), "runs without a value are not drawn"
