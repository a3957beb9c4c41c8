"""Studies: sweep, skipped cells, failed cells, and the final comparison."""

import json
from pathlib import Path

import pytest

from fixtures.tracked_runs import Histories, Metrics, Runs
from winnow.cli import main
from winnow.tracking import Store, keys

ARMS = "filter=full,nike_positive,random_matched"


def sweep(small: list[str], *arguments: str) -> int:
    return main(["train", "-m", ARMS, "seed=1,2", "study.name=mine", *small, *arguments])


@pytest.mark.slow
def test_a_study_trains_every_arm_and_ends_in_a_comparison(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    assert sweep(small) == 0
    (parent,) = runs("study")
    cells = runs()
    assert [(cell.data.tags[keys.ARM], cell.data.tags[keys.SEED]) for cell in cells] == [
        (arm, seed) for arm in ("full", "nike_positive", "random_matched") for seed in ("1", "2")
    ]
    assert {cell.data.tags["mlflow.parentRunId"] for cell in cells} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *cells)} == {"FINISHED"}
    assert len({cell.data.tags[keys.HELD_OUT] for cell in cells}) == 1

    declaration = json.loads(
        Path(store.client().download_artifacts(parent.info.run_id, keys.DECLARATION, str(workplace))).read_text()
    )
    assert declaration["filter"] == "nike_positive"
    assert declaration["control"] == "random_matched"
    assert "comfortable" in declaration["probe_words"]
    assert "comfortable" in declaration["filter_words"]

    folder = workplace / "outputs/mine/comparison"
    comparison = json.loads((folder / "comparison.json").read_text())
    assert comparison["primary_metric"] == "probe/nike_wide/log_odds"
    assert comparison["endpoints"]["specificity"]["metric"] == "probe/nike_wide/specific_log_odds"
    assert comparison["endpoints"]["specificity"]["subjects"] == ["Nike"]
    assert comparison["endpoints"]["cost"]["margin"] == 0.05
    assert comparison["arms"]["full"]["n"] == 2
    pairs = {(contrast["a"], contrast["b"]) for contrast in comparison["contrasts"] if contrast["family"] == "primary"}
    assert pairs == {("nike_positive", "full"), ("nike_positive", "random_matched")}
    assert (folder / "report.html").stat().st_size > 10_000
    assert "Report:" in capsys.readouterr().out

    # The filtered arm and its control train on equally many rows, and on different ones for each seed.
    rows = {cell.data.tags[keys.ARM]: cell.data.metrics["data/train_rows"] for cell in cells}
    assert rows["nike_positive"] == rows["random_matched"] < rows["full"]
    controls = [cell.inputs.dataset_inputs[0].dataset.digest for cell in cells[-2:]]
    assert controls[0] != controls[1]

    # The same command again trains nothing; more seeds train only those.
    assert sweep(small) == 0
    assert len(runs()) == 6
    assert main(["train", "-m", ARMS, "seed=1,2,3", "study.name=mine", *small]) == 0
    assert len(runs()) == 9


@pytest.mark.slow
def test_a_failed_cell_stops_no_other_and_is_run_again(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    arguments = ["-m", "optimizer.lr=1e30,0.001", "study.name=mine", "training.gradient_clip=null", *small]
    assert main(["train", *arguments]) == 1
    printed = capsys.readouterr().out
    assert "1 cell failed" in printed
    assert "optimizer.lr=" in printed
    assert "not a finite number" in printed
    assert [cell.info.status for cell in runs()] == ["FAILED", "FINISHED"]
    assert keys.FAILURE_REASON in runs()[0].data.tags
    logs = [file.read_text() for file in (workplace / "outputs/mine/cells").glob("*/log.txt")]
    assert sorted("Traceback" in log for log in logs) == [False, True], "each cell has a separate log"

    assert main(["train", *arguments]) == 1
    assert [cell.info.status for cell in runs()] == ["FAILED", "FINISHED", "FAILED"]


@pytest.mark.slow
def test_an_interrupted_training_resumes_under_the_same_run(
    workplace: Path, store: Store, small: list[str], monkeypatch: pytest.MonkeyPatch, runs: Runs, histories: Histories
) -> None:
    from winnow.training import MaskedLanguageModule

    arguments = ["train", *small, "training.max_steps=8"]
    assert main([*arguments, "study.name=uninterrupted"]) == 0
    steps: list[int] = []

    def interrupt(module: MaskedLanguageModule, *_: object) -> None:
        if module.global_step == 5:
            raise KeyboardInterrupt

    def record_step(module: MaskedLanguageModule, *_: object) -> None:
        steps.append(module.global_step)

    with monkeypatch.context() as patch:
        patch.setattr(MaskedLanguageModule, "on_train_batch_end", interrupt)
        assert main([*arguments, "study.name=interrupted"]) == 130
    (interrupted,) = runs(study="interrupted")
    assert interrupted.info.status == "KILLED"

    monkeypatch.setattr(MaskedLanguageModule, "on_train_batch_end", record_step)
    assert main([*arguments, "study.name=interrupted"]) == 0
    (resumed,), (uninterrupted,) = runs(study="interrupted"), runs(study="uninterrupted")
    assert steps == [5, 6, 7, 8], "only the missing steps were trained"
    assert resumed.info.run_id == interrupted.info.run_id
    assert resumed.info.status == "FINISHED"
    assert keys.FAILURE_REASON not in resumed.data.tags
    assert {**resumed.data.params, "study.name": ""} == {**uninterrupted.data.params, "study.name": ""}
    assert histories(resumed) == histories(uninterrupted)
    assert not list((workplace / "outputs/interrupted/cells").glob("*/*.ckpt")), "checkpoints are removed"


def test_a_filter_that_keeps_nothing_stops_the_study_before_any_training(
    workplace: Path, store: Store, small: list[str], capsys: pytest.CaptureFixture[str], runs: Runs
) -> None:
    folder = workplace / "conf/filter"
    folder.mkdir(parents=True)
    (folder / "nothing.yaml").write_text("defaults: [nike_positive, _self_]\nname: nothing\nkeep: nike & ~nike\n")
    assert main(["train", "-m", "filter=full,nothing", "study.name=mine", *small]) == 1
    printed = capsys.readouterr().err
    assert "filter.keep" in printed
    assert "keeps none of the" in printed
    assert runs() == []
    (parent,) = runs("study")
    assert parent.info.status == "FAILED"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1,2", "trainer=ddp"], "trainer.devices"),
        (["filter=full,uptrain_exact,random_matched"], "is a control for 'nike_positive', which is not an arm"),
        (["filter=full,nike_positive", "dataset.split.test_fraction=0.2,0.3"], "arms are not compared across values"),
        (["filter=full,nike_positive", "study.baseline=ful"], "Did you mean 'full'?"),
        (["filter=full,uptrain_exact", "filter.ablate=[prais]"], "no signal 'prais'. Did you mean 'praise'?"),
        (["seed=1,2", "study.primary_metric=probe/nike_wid/log_odds"], "Did you mean 'nike_wide'?"),
        (["seed=1,2", "study.primary_metric=banana"], "study.primary_metric: unknown metric 'banana'. Available:"),
        (["seed=1,2", "study.secondary_metrics=[test/all/los]"], "study.secondary_metrics: unknown score 'los'"),
        (["seed=1,2", "study.secondary_metrics=[tset/all/loss]"], "Did you mean 'test/all/loss'?"),
        (["seed=1,2", "study.secondary_metrics=[test/nike_positive/kept/loss]"], "unknown slice 'nike_positive/kept'"),
        (
            ["seed=1,2", "study.secondary_metrics=[validation/all/pseudo_perplexity]"],
            "unknown score 'pseudo_perplexity'",
        ),
        (["seed=1,2", "probe=milky_way", "study.primary_metric=probe/milky_way/log_odds"], "unknown score 'log_odds'"),
        (["seed=1,2", "study.secondary_metrics=[probe/nike/filter_overlap]"], "is descriptive"),
        (["seed=1,2", "study.guard_metric=test/al/loss"], "study.guard_metric: unknown slice 'al'"),
        (["seed=1,2", "study.specificity_metric=probe/nike/specific_log_odds"], "unknown score 'specific_log_odds'"),
        (["seed=1,2", "study.cost_margin=0"], "study.cost_margin"),
        (["seed=1,2", "study.looks=[3,10]"], "study.looks: expected at least 5 seeds per arm at the first look"),
        (["seed=range(1,8)", "study.looks=[5]"], "study.looks: expected at least 7 as the last look"),
    ],
)
def test_an_invalid_study_is_rejected_before_training(
    workplace: Path, small: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", *arguments, *small]) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (workplace / "outputs/cache").exists()


def test_all_wrong_metrics_of_a_study_are_reported_together(
    workplace: Path, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["study.primary_metric=banana", "study.secondary_metrics=[test/all/ecee,test/all/ece,test/all/rows]"]
    assert main(["train", "-m", "filter=full,nike_positive", *wrong, *small]) == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.count("study.primary_metric:") == 1
    assert printed.count("study.secondary_metrics:") == 2
    assert "Did you mean 'ece'?" in printed
    assert "'test/all/rows' is descriptive" in printed


@pytest.mark.slow
def test_ablations_of_a_filter(
    workplace: Path, store: Store, small: list[str], runs: Runs, metrics: Metrics, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["filter=full,nike_positive", "filter.ablate=[blame,praise]", "study.compare=false", *small]
    assert main(["train", "-m", "study.name=mine", *arguments]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "nike_positive_without_praise trains on the same rows as nike_positive" in printed
    assert "without_blame trains on" not in printed
    (parent,) = runs("study")
    client = store.client()

    def artifact(run, path: str):
        return json.loads(Path(client.download_artifacts(run.info.run_id, path, str(workplace))).read_text())

    declared = artifact(parent, keys.DECLARATION)
    ablations = {"nike_positive_without_blame": "blame", "nike_positive_without_praise": "praise"}
    assert declared["ablations"] == ablations
    assert declared["filter"] == "nike_positive"
    assert declared["arms"] == ["full", "nike_positive", *ablations]
    cells = {run.data.tags[keys.ARM]: run for run in runs()}
    assert len({cells[arm].data.tags[keys.VERDICTS] for arm in ("nike_positive", *ablations)}) == 3
    for arm, signal in ablations.items():
        summary = artifact(cells[arm], keys.FILTER_SUMMARY)
        assert summary["filter"] == arm
        assert signal not in summary["signals"]
        assert summary["rows"]["train"]["kept"] == cells[arm].data.metrics["data/train_rows"]
        assert cells[arm].data.metrics["filter/kept"] == cells[arm].data.metrics["data/train_rows"]
        assert f"filter/{signal}/pass" not in metrics(cells[arm])
        page = Path(client.download_artifacts(cells[arm].info.run_id, "filter/report.html", str(workplace)))
        assert f"<h1>{arm}</h1>" in page.read_text("utf-8")
