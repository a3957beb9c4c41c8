"""Runs made again from their id, and studies exported and made again from their folder."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.tracked_runs import Runs
from winnow.cli import main
from winnow.commands.export import remake
from winnow.tracking import Store, keys

TINY = ["training.max_steps=3", "training.validate_every_steps=3", "evaluation.max_rows=24", "dataset.source.rows=900"]


@pytest.fixture
def trained(workplace: Path, runs: Runs, small: list[str]) -> str:
    """The id of one finished training of the filter's arm."""
    assert main(["train", "filter=nike_positive", "study.name=once", *small]) == 0
    (run,) = runs(study="once")
    return run.info.run_id


@pytest.mark.slow
def test_a_run_made_again_is_equal_bit_for_bit(
    trained: str, workplace: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    model = next((workplace / "outputs/once/cells").glob("*/model/model.safetensors"))
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    capsys.readouterr()
    assert main(["rerun", trained]) == 0
    told = capsys.readouterr().out
    (cell,), (again,) = runs(study="once"), runs("rerun", "once")
    assert again.data.tags[keys.RERUN_OF] == trained == cell.info.run_id

    def scores(run) -> dict[str, float]:
        clock = ("final/seconds", "train/tokens_per_second", "train/peak_share", "system/")
        return {name: value for name, value in run.data.metrics.items() if not name.startswith(clock)}

    same = scores(cell)
    assert same == scores(again)
    assert {"final/test/all/loss", "final/probe/nike_wide/log_odds", "train/loss", "validation/loss"} <= set(same)
    assert f"all {len(same)} metrics are equal, bit for bit" in " ".join(told.split())
    assert "Packages, code, machine and data are those of the run." in told
    models = sorted((workplace / "outputs/once/cells").glob("*/model/model.safetensors"))
    assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in models} == {before}
    assert len(models) == 2, "the first run's model stays"


@pytest.mark.slow
def test_what_differs_is_told_and_unequal_numbers_are_named(
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
    assert main(["rerun", trained[:12]]) == 1, "the beginning of an id will do"
    told = capsys.readouterr().out
    assert "commit: then 000000000000, now" in told
    assert "then torch==1.0" in told
    assert "the corpus was another, and is" in told
    assert "2 of " in told
    assert "metrics differ" in told
    lines = {line.split()[0]: line for line in told.splitlines() if line.strip().startswith("final/")}
    assert "differs by" in lines["final/test/all/loss"]
    assert "missing" in lines["final/never/logged/again"]
    assert lines["final/validation/all/loss"].rstrip().endswith("equal")


@pytest.mark.slow
def test_runs_that_cannot_be_made_again_are_refused_in_words(
    trained: str, workplace: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    client = store.client()
    wrong = trained[:-1] + ("0" if trained[-1] != "0" else "1")

    def refused(run_id: str) -> str:
        capsys.readouterr()
        assert main(["rerun", run_id]) == 1
        return " ".join(capsys.readouterr().err.split())

    told = refused(wrong)
    assert f"Did you mean '{trained}'?" in told
    assert "once: nike_positive, seed 1" in told
    experiment = store.experiment("once")
    parent = client.create_run(experiment, tags={keys.KIND: "study"}).info.run_id
    assert f"is a study and no training. Its trainings are: {trained}" in refused(parent)
    broken = client.create_run(experiment, tags={keys.KIND: "cell", keys.CAUSE: "out of patience"}).info.run_id
    client.set_terminated(broken, "FAILED")
    assert "did not finish (FAILED, out of patience)" in refused(broken)
    shutil.rmtree(workplace / "outputs/artifacts/once" / trained / "artifacts/config")
    assert "config/resolved.yaml" in refused(trained)


@pytest.mark.slow
def test_an_exported_study_is_made_again_by_its_script(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arms = "filter=full,nike_positive"
    assert main(["train", "-m", arms, "seed=1,2", "study.name=paper", *small, *TINY]) == 0
    assert main(["export", "paper"]) == 0
    folder = workplace / "outputs/paper/export"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        known, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == known
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"README.md", "seeds.csv", "declaration.json", "constraints.txt", "report.html", "remake.py"} <= names
    assert {"tables/contrasts.tex", "tables/contrasts.csv", "figures/seeds.svg", "code/commit.txt"} <= names
    assert {f"configs/{arm}-seed-{seed}.yaml" for arm in arms[7:].split(",") for seed in (1, 2)} <= names
    assert len((folder / "seeds.csv").read_text().splitlines()) == 5
    assert "torch==" in (folder / "constraints.txt").read_text()

    done = subprocess.run(
        [sys.executable, folder / "remake.py", "again"], capture_output=True, text=True, check=False, cwd=workplace
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numbers are equal" in done.stdout
    first, made = (json.loads((at / "comparison.json").read_text()) for at in (folder, workplace / "again/comparison"))
    assert first["contrasts"] == made["contrasts"]
    assert first["verdict"] == made["verdict"]

    # The remake shares the study's loop over cells: what has finished is kept.
    again = Store(uri=f"sqlite:///{workplace}/again/mlflow.db", artifacts=str(workplace / "again/artifacts"))

    def trained_cells() -> set[str]:
        found = again.client().search_runs([again.experiment("paper")], f"tags.`{keys.KIND}` = 'cell'")
        return {run.info.run_id for run in found}

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
