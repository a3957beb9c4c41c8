"""Runs repeated from their id, and studies reproduced from their export."""

import hashlib
import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from fixtures.tracked_runs import Metrics, Runs
from winnow.cli import main
from winnow.commands.export import remake
from winnow.commands.rerun import RerunResult, add_recorded_numerics, print_result
from winnow.tracking import Store, keys

TINY = ["training.max_steps=3", "training.validate_every_steps=3", "evaluation.max_rows=24", "dataset.source.rows=900"]


@pytest.fixture
def trained(workplace: Path, runs: Runs, small: list[str]) -> str:
    """The id of a finished training run of the arm `nike_positive`."""
    assert main(["train", "filter=nike_positive", "study.name=once", *small]) == 0
    (run,) = runs(study="once")
    return run.info.run_id


@pytest.mark.slow
def test_a_repeated_run_has_identical_metrics(
    trained: str, workplace: Path, runs: Runs, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    model = next((workplace / "outputs/once/cells").glob("*/model/model.safetensors"))
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    capsys.readouterr()
    assert main(["rerun", trained]) == 0
    printed = capsys.readouterr().out
    (cell,), (repeated,) = runs(study="once"), runs("rerun", "once")
    assert repeated.data.tags[keys.RERUN_OF] == trained == cell.info.run_id

    def scores(run) -> dict[str, float]:
        timing = ("final/seconds", "train/tokens_per_second", "train/peak_share", "system/")
        return {name: value for name, value in metrics(run).items() if not name.startswith(timing)}

    original = scores(cell)
    assert original == scores(repeated)
    assert {"final/test/all/loss", "final/probe/nike_wide/log_odds", "train/loss", "validation/loss"} <= set(original)
    assert f"all {len(original)} metrics are identical" in " ".join(printed.split())
    assert "final/test/all/loss" not in printed
    assert "Packages, code, machine and data are the same as in the original run." in printed
    models = sorted((workplace / "outputs/once/cells").glob("*/model/model.safetensors"))
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in models} == {before}
    assert len(models) == 2, "the model of the original run is not overwritten"


@pytest.mark.slow
def test_differences_in_environment_and_metrics_are_printed(
    trained: str, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    client = store.client()
    client.set_tag(trained, keys.COMMIT, "0" * 40)
    client.set_tag(trained, keys.CORPUS, "another")
    client.log_text(trained, "torch==1.0\n", "environment/packages.txt")
    client.log_metric(trained, "final/test/all/loss", 123.0)
    client.log_metric(trained, "final/never/logged/again", 1.0)
    capsys.readouterr()
    assert main(["rerun", trained[:12]]) == 1, "a prefix of the id is sufficient"
    printed = capsys.readouterr().out
    assert "commit: original 000000000000, now" in printed
    assert "original torch==1.0" in printed
    assert "corpus fingerprint: original another, now" in printed
    assert "2 of " in printed
    assert "metrics differ" in printed
    lines = {line.split()[0]: line for line in printed.splitlines() if line.strip().startswith("final/")}
    assert "differs by" in lines["final/test/all/loss"]
    assert "missing" in lines["final/never/logged/again"]
    assert len(lines) == 2, "identical metrics are not printed"


def test_all_metrics_of_a_rerun_are_printed_on_request() -> None:
    result = RerunResult(
        "0a", "0b", {"final/same": (1.0, 1.0), "final/other": (1.0, 1.5), "final/new": (None, 2.0)}, []
    )
    printed = {}
    for all_metrics in (False, True):
        file = StringIO()
        print_result(result, Console(file=file, width=80), all_metrics)
        printed[all_metrics] = file.getvalue()
        assert "differs by +0.5" in file.getvalue()
        assert "2 of 3 metrics differ; the new run is 0b" in file.getvalue()
    assert "final/same" not in printed[False]
    assert "identical" in next(line for line in printed[True].splitlines() if "final/same" in line)


@pytest.mark.slow
def test_runs_that_cannot_be_repeated_are_rejected(
    trained: str, workplace: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    client = store.client()
    wrong = trained[:-1] + ("0" if trained[-1] != "0" else "1")

    def read_error(run_id: str) -> str:
        capsys.readouterr()
        assert main(["rerun", run_id]) == 1
        return " ".join(capsys.readouterr().err.split())

    message = read_error(wrong)
    assert f"Did you mean '{trained}'?" in message
    assert "once/nike_positive/1, FINISHED" in message
    experiment = store.experiment("once")
    parent = client.create_run(experiment, tags={keys.KIND: "study"}).info.run_id
    assert f"is of kind 'study'. Choose a training run of the same experiment: {trained}" in read_error(parent)
    failed = client.create_run(experiment, tags={keys.KIND: "cell", keys.FAILURE_REASON: "out of patience"}).info.run_id
    client.set_terminated(failed, "FAILED")
    assert "did not finish (FAILED, out of patience)" in read_error(failed)
    shutil.rmtree(workplace / "outputs/artifacts/once" / trained / "artifacts/config")
    assert "config/resolved.yaml" in read_error(trained)


@pytest.mark.parametrize(("linear", "expected"), [("auto", ["forward 40 24"]), ("portable", None)])
def test_a_repeated_run_uses_the_recorded_matmul_backends_and_threads(
    store: Store, linear: str, expected: list[str] | None
) -> None:
    client = store.client()
    run = client.create_run(store.experiment("recorded"))
    client.log_dict(run.info.run_id, {"linear": linear, "onednn": ["forward 40 24"], "threads": 3}, keys.NUMERICS)
    client.log_dict(run.info.run_id, {"threads": 4}, "environment/hardware.json")
    tree = add_recorded_numerics({"seed": 1, "numerics": {"linear": linear}}, client, run.info.run_id)
    assert tree["numerics"].get("onednn_matmuls") == expected
    assert (tree["seed"], tree["numerics"]["linear"], tree["numerics"]["threads"]) == (1, linear, 3)
    client.log_dict(run.info.run_id, {"linear": linear}, keys.NUMERICS)
    assert add_recorded_numerics({}, client, run.info.run_id)["numerics"] == {"threads": 4}, "a run of version 0.2"


@pytest.mark.slow
def test_the_script_of_an_export_reproduces_the_study(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arms = "filter=full,nike_positive"
    assert main(["train", "-m", arms, "seed=1,2", "study.name=paper", *small, *TINY]) == 0
    assert main(["export", "paper"]) == 0
    folder = workplace / "outputs/paper/export"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        checksum, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"README.md", "seeds.csv", "declaration.json", "constraints.txt", "report.html", "remake.py"} <= names
    assert {"tables/contrasts.tex", "tables/contrasts.csv", "figures/seeds.svg", "code/commit.txt"} <= names
    assert {f"configs/{arm}-seed-{seed}.yaml" for arm in arms[7:].split(",") for seed in (1, 2)} <= names
    assert len((folder / "seeds.csv").read_text().splitlines()) == 5
    assert "torch==" in (folder / "constraints.txt").read_text()
    stored_config = yaml.safe_load((folder / "configs/full-seed-1.yaml").read_text())
    assert stored_config["numerics"]["onednn_matmuls"] is not None

    done = subprocess.run(
        [sys.executable, folder / "remake.py", "again"], capture_output=True, text=True, check=False, cwd=workplace
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numbers are identical" in done.stdout
    original, reproduced = (
        json.loads((at / "comparison.json").read_text()) for at in (folder, workplace / "again/comparison")
    )
    assert original["contrasts"] == reproduced["contrasts"]
    assert original["verdict"] == reproduced["verdict"]

    # A second call of the script skips finished cells.
    store_of_copy = Store(uri=f"sqlite:///{workplace}/again/mlflow.db", artifacts=str(workplace / "again/artifacts"))

    def trained_cells() -> set[str]:
        cell_runs = store_of_copy.client().search_runs(
            [store_of_copy.experiment("paper")], f"tags.`{keys.KIND}` = 'cell'"
        )
        return {run.info.run_id for run in cell_runs}

    cells = trained_cells()
    assert len(cells) == len(list((workplace / "again/paper/cells").glob("*/log.txt"))) == 4
    assert remake(folder, workplace / "again") == 0
    assert trained_cells() == cells

    (folder / "configs/full-seed-1.yaml").write_text("changed")
    done = subprocess.run([sys.executable, folder / "remake.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "configs/full-seed-1.yaml" in done.stderr
    assert "changed since the export" in done.stderr


def test_an_unknown_study_is_not_exported(workplace: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.experiment("paper")
    assert main(["export", "papr"]) == 1
    assert "Did you mean 'paper'?" in " ".join(capsys.readouterr().err.split())
