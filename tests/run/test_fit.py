"""The training of a cell: budgets, checkpoints, and settings that prevent a comparison."""

import json
from pathlib import Path

import pytest

from fixtures.tracked_runs import Metrics, Runs
from winnow.cli import main
from winnow.tracking import Store, keys


def read_stderr(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_early_stopping_keeps_the_best_weights_and_marks_the_run_as_not_comparable(
    workplace: Path, store: Store, runs: Runs, small: list[str]
) -> None:
    """With a learning rate of zero, the validation loss never improves."""
    arguments = ["training.max_steps=20", "training.patience=2", "training.keep=best", "training.max_minutes=9"]
    assert main(["train", *small, *arguments, "optimizer.lr=0.0", "training.ema_decay=0.9"]) == 0
    (run,) = runs(study="scratchpad")
    assert run.info.status == "FINISHED"
    validations = store.client().get_metric_history(run.info.run_id, "validation/loss")
    assert [point.step for point in validations] == [2, 4, 6]
    assert run.data.metrics["best/step"] == 2
    assert run.data.metrics["best/validation/loss"] == pytest.approx(validations[0].value)
    assert "validation loss decides when training ends" in run.data.tags[keys.NOT_COMPARABLE]
    assert not list(workplace.glob("outputs/scratchpad/cells/*/*.ckpt"))


@pytest.mark.parametrize("choice", ["patience=1", "keep=best", "max_minutes=1"])
def test_settings_that_prevent_a_comparison_are_rejected_in_a_study(
    workplace: Path, small: list[str], choice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "-m", "seed=1,2", f"training.{choice}", *small]) == 1
    message = read_stderr(capsys)
    assert f"training.{choice.partition('=')[0]}" in message
    assert "study.compare=false" in message
    assert not (workplace / "outputs/cache").exists()


@pytest.mark.slow
def test_a_token_budget_limits_training(workplace: Path, runs: Runs, small: list[str]) -> None:
    assert main(["train", *small, "training.total_tokens=1500"]) == 0
    (run,) = runs(study="scratchpad")
    assert run.data.tags[keys.MAX_STEPS] == "1500 tokens"
    assert 1500 <= run.data.metrics["final/tokens_seen"] < 1500 + 16 * 30


@pytest.mark.slow
def test_a_budget_in_passes_gives_every_arm_its_own_number_of_steps(
    workplace: Path, runs: Runs, small: list[str]
) -> None:
    arms = "filter=full,nike_positive"
    assert main(["train", "-m", arms, "seed=1,2", "study.name=mine", *small, "training.max_passes=0.5"]) == 0
    cells = runs()
    assert {run.data.tags[keys.MAX_STEPS] for run in cells} == {"0.5 passes"}
    rows = {run.data.tags[keys.ARM]: run.data.metrics["data/train_rows"] for run in cells}
    assert rows["full"] > 2 * rows["nike_positive"]
    comparison = json.loads((workplace / "outputs/mine/comparison/comparison.json").read_text())
    for arm in comparison["arms"].values():
        assert arm["passes"] == pytest.approx(0.5, abs=0.05)
    assert [row["b"] for row in comparison["not_comparable"]] == ["random_matched"], "the control was not trained"
    assert {"exact", "near", "one_word", "two_words"} == set(comparison["leakage"]["test"])


@pytest.mark.slow
def test_an_error_after_training_does_not_require_training_again(
    workplace: Path, runs: Runs, small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import winnow.run.pipeline

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(winnow.run.pipeline, "log_results", full)
        assert main(["train", *small]) == 1
    assert "No space left" in capsys.readouterr().err
    (checkpoint,) = workplace.glob("outputs/scratchpad/cells/*/last.ckpt")
    assert main(["train", *small]) == 0
    run = runs(study="scratchpad")[-1]
    assert run.info.status == "FINISHED"
    assert "train/loss" not in run.data.metrics or len(runs(study="scratchpad")) == 1, "training was not repeated"
    assert run.data.metrics["final/tokens_seen"] > 0
    assert not checkpoint.exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_reported_before_training(
    workplace: Path,
    runs: Runs,
    metrics: Metrics,
    small: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import winnow.run.pipeline

    def stops(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(winnow.run.pipeline, "evaluate_baseline", stops)
        assert main(["train", *small]) == 130
    (folder,) = workplace.glob("outputs/scratchpad/cells/*")
    (folder / "last.ckpt").write_bytes(b"half of a file")
    capsys.readouterr()
    assert main(["train", *small]) == 1
    message = read_stderr(capsys)
    assert "last.ckpt is damaged" in message
    assert "study.rerun=all" in message
    assert "before/test/all/loss" not in metrics(runs(study="scratchpad")[-1])
    assert main(["train", *small, "study.rerun=all"]) == 0


def test_a_nan_loss_is_reported_with_the_row_ids(
    workplace: Path, runs: Runs, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["optimizer.lr=1e35", "training.gradient_clip=null", "training.max_steps=20"]
    assert main(["train", *small, *arguments, "training.warmup_fraction=1"]) == 1
    message = read_stderr(capsys)
    assert "not a finite number at step" in message
    assert "row ids" in message
    (run,) = runs(study="scratchpad")
    assert run.info.status == "FAILED"


def test_more_processes_than_rows_are_rejected_before_any_evaluation(
    workplace: Path, runs: Runs, metrics: Metrics, small: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trainer=ddp", "trainer.devices=17", "trainer.accelerator=cpu"]
    assert main(["train", *small, *arguments]) == 1
    message = read_stderr(capsys)
    assert "training.batch_size" in message
    assert "17 processes" in message
    assert "before/test/all/loss" not in metrics(runs(study="scratchpad")[0])
