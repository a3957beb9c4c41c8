"""`scripts/train.py` as a Hydra user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
import yaml
from omegaconf import DictConfig

from winnow.cli import main
from winnow.commands.hydra_app import check_arguments, run_hydra_app, train_once
from winnow.commands.rerun import TIMING_METRICS
from winnow.config import builtin_config_folder
from winnow.errors import WinnowError, WinnowErrors
from winnow.tracking import Store
from winnow.tracking.run_queries import read_run_metrics

SCRIPT = Path(__file__).parents[1] / "scripts" / "train.py"


def run(*arguments: str, code: int = 0, **options) -> str:
    """Run the script and return what it printed, after checking its exit code."""
    command = [sys.executable, SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def metrics_by_seed(store: Store, study: str) -> dict[str, dict[str, float]]:
    """Return what each finished run of a study measured, except times, by seed."""
    runs = store.client().search_runs([store.experiment(study)])
    assert {run.info.status for run in runs} == {"FINISHED"}
    return {
        run.data.tags["winnow.seed"]: {
            name: value
            for name, value in read_run_metrics(store.client(), run).items()
            if not name.startswith(TIMING_METRICS)
        }
        for run in runs
    }


@pytest.fixture
def local_conf(workplace: Path) -> Path:
    file = workplace / "conf/experiment/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nseed: 77\n", encoding="utf-8")
    (workplace / "conf/mine.yaml").write_text("defaults: [train, _self_]\nseed: 78\n", encoding="utf-8")
    return workplace


def test_all_errors_of_all_jobs_are_found_before_the_first(workplace: Path) -> None:
    with pytest.raises(WinnowErrors) as caught:
        check_arguments(["-m", "seed=1,x", "training.max_stepz=1", "hydra/launcher=joblib", "filter=nike_positve"])
    assert {error.key for error in caught.value.errors} == {"seed", "training.max_stepz", "filter"}
    check_arguments(["-m", "seed=1,2", "hydra/launcher=joblib", "hydra.sweep.dir=x"])
    check_arguments(["seed=x", "--cfg", "job"])  # only prints


def test_a_local_root_file_and_a_given_folder_are_checked_too(local_conf: Path) -> None:
    check_arguments(["-cn", "mine", "experiment=mine"])
    (local_conf / "conf").rename(local_conf / "other")
    check_arguments(["-cd", "other", "-cn", "mine", "experiment=mine"])
    check_arguments(["hydra.searchpath=[other]", "experiment=mine"])
    with pytest.raises(WinnowErrors, match="has no option 'mine'"):
        check_arguments(["experiment=mine"])


def test_what_is_more_than_a_run_is_refused(workplace: Path) -> None:
    with pytest.raises(WinnowError, match=r"^filter\.ablate"):
        check_arguments(["filter=nike_positive", "filter.ablate=all"])
    with pytest.raises(WinnowError, match=r"^trainer\.devices"):
        check_arguments(["-m", "trainer=ddp", "seed=1,2"])


@pytest.mark.slow
def test_the_options_of_hydra_that_print(local_conf: Path) -> None:
    assert "conf" in run("--info", "searchpath")
    assert re.search(r"\| local +\| file://", run("--info", "searchpath"))
    tree = yaml.safe_load(run("--resolve", "--cfg", "job", "experiment=mine"))
    assert (tree["seed"], tree["training"]["batch_size"]) == (77, 64)
    assert tree["tracking"]["uri"] == "sqlite:///outputs/mlflow.db"
    assert "seed: 78" in run("-cn", "mine", "--cfg", "job")
    (local_conf / "conf").rename(local_conf / "other")
    assert run("-cd", "other", "experiment=mine", "--cfg", "job", "--package", "seed").strip() == "77"
    assert run("--cfg", "job", "--package", "training").startswith("# @package training\nbatch_size: 64")
    assert "hydra_bash_completion" in run("-sc", "install=bash")


@pytest.mark.slow
def test_completion_offers_the_choices_of_both_folders(local_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "train.py experiment=m"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert run("-sc", "query=bash").split() == ["experiment=mine"]


@pytest.mark.slow
def test_errors_are_paragraphs_without_a_traceback(workplace: Path) -> None:
    told = run("sed=1", "training.max_steps=soon", code=1)
    assert "2 configuration errors" in told
    assert "Did you mean 'seed'?" in told
    missing = ["dataset=csv", "dataset.source.path=nowhere.csv", "dataset.source.text=[text]"]
    told += run(*missing, code=1)
    assert "there is no file nowhere.csv" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_an_unexpected_exception_is_a_paragraph_unless_tracebacks_are_requested(workplace: Path) -> None:
    (workplace / "failing.py").write_text(
        "import torch\nclass Failing(torch.optim.SGD):\n    def __init__(self, params, lr): raise KeyError(lr)\n",
        encoding="utf-8",
    )
    arguments = ["allow_targets=[failing]", "optimizer={_target_: failing.Failing, lr: 0.5}"]
    arguments += ["~optimizer.fused", "~optimizer.weight_decay", "dataset.source.rows=200", "model.layers=1"]
    variables = os.environ | {"PYTHONPATH": f"{workplace}:{os.environ.get('PYTHONPATH', '')}"}
    message = " ".join(run(*arguments, code=1, env=variables).split())
    assert "winnow: unexpected error in scripts/train.py: KeyError: 0.5. This is a bug" in message
    assert "Traceback" not in message
    (log,) = (workplace / "outputs/errors").glob("*.log")
    assert str(log) in message
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "Traceback" in run(*arguments, code=1, env=variables | {"HYDRA_FULL_ERROR": "1"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "objective"),
    [
        ([], "validation/all/loss"),
        (["evaluation.validation_only=true"], "probe/nike_wide/log_odds"),
        (["evaluation.validation_only=true", "study.primary_metric=test/all/top1"], "validation/all/top1"),
    ],
)
def test_a_job_returns_a_metric_on_validation_data_to_a_sweeper(
    workplace: Path, store: Store, small: list[str], overrides: list[str], objective: str
) -> None:
    returned: list[float] = []

    @hydra.main(version_base="1.3", config_path=str(builtin_config_folder()), config_name="train")
    def app(config: DictConfig) -> None:
        returned.append(train_once(config))

    assert run_hydra_app(app, [*small, "training.max_steps=2", "probe=[nike_wide]", *overrides]) == 0
    (tracked,) = store.client().search_runs([store.experiment("scratchpad")])
    assert returned == [tracked.data.metrics[f"final/{objective}"]]


@pytest.mark.slow
def test_a_run_has_hydras_folder_and_is_tracked(workplace: Path, store: Store, small: list[str]) -> None:
    run(*small, "seed=4", "hydra.run.dir=here")
    assert {file.name for file in (workplace / "here/.hydra").iterdir()} == {
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    }
    assert yaml.safe_load((workplace / "here/.hydra/overrides.yaml").read_text()) == [*small, "seed=4"]
    assert set(metrics_by_seed(store, "scratchpad")) == {"4"}


@pytest.mark.slow
def test_a_job_of_a_multirun_is_not_changed_by_the_one_before(workplace: Path, store: Store, small: list[str]) -> None:
    deterministic = [*small, "trainer.deterministic=true"]
    run("-m", *deterministic, "seed=1,2", "study.name=many", "hydra.sweep.dir=sweep")
    assert (workplace / "sweep/1/.hydra/config.yaml").is_file()
    assert main(["train", *deterministic, "seed=2", "study.name=alone"]) == 0
    many, alone = metrics_by_seed(store, "many"), metrics_by_seed(store, "alone")
    assert set(many) == {"1", "2"}
    assert many["2"] == alone["2"] != many["1"]


@pytest.mark.slow
def test_joblib_runs_the_jobs_in_processes(workplace: Path, store: Store, small: list[str]) -> None:
    told = run("-m", *small, "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep")
    assert "Joblib.Parallel(n_jobs=2" in told
    assert set(metrics_by_seed(store, "scratchpad")) == {"1", "2"}
