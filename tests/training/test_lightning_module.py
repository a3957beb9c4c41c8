import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from fixtures.trainers import quiet_trainer
from winnow.errors import WinnowError
from winnow.training import (
    MaskedLanguageDataModule,
    MaskedLanguageModule,
    Masking,
    Scratch,
    TokenRows,
    TrainingBatches,
    masked_lm_loss_sum,
)

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01)


def fit(
    model: Any,
    rows: TokenRows,
    optimizer: Any = ADAMW,
    ckpt_path: Path | None = None,
    forward: Any = "auto",
    **settings: Any,
) -> MaskedLanguageModule:
    module = MaskedLanguageModule(model, optimizer, warmup_fraction=0.25, seed=3, forward=forward)
    data = MaskedLanguageDataModule(rows.take(np.arange(100)), rows.take(np.arange(100, 140)), Masking(), 16, seed=3)
    defaults: dict[str, Any] = {
        "max_steps": 4,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
    }
    quiet_trainer(**(defaults | settings)).fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


class RecordBatches(Callback):
    """Records modes, learning rates and token counts of the training batches."""

    def __init__(self) -> None:
        self.modes: list[bool] = []
        self.rates: list[float] = []
        self.masked = self.words = 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.modes.append(all(submodule.training for submodule in module.model.modules()))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.masked += len(batch.masked_indices)
        self.words += batch.num_tokens - 2 * 16  # each of 16 rows has two separators


def test_every_module_is_in_training_mode_after_a_validation(model: Any, rows: TokenRows) -> None:
    assert not model.training  # the default of the library
    recorder = RecordBatches()
    fit(model, rows, callbacks=[recorder], val_check_interval=2)
    assert recorder.modes == [True] * 4


def test_the_learning_rate_increases_then_decreases_and_is_never_zero(model: Any, rows: TokenRows) -> None:
    recorder = RecordBatches()
    fit(model, rows, callbacks=[recorder], max_steps=8, limit_val_batches=0)
    factors = np.array(recorder.rates) / 1e-3
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


def test_about_15_percent_of_the_words_are_masked(model: Any, rows: TokenRows) -> None:
    recorder = RecordBatches()
    fit(model, rows, callbacks=[recorder], max_steps=40, limit_val_batches=0)
    assert abs(recorder.masked / recorder.words - 0.15) < 4 * math.sqrt(0.15 * 0.85 / recorder.words)


def test_the_logged_loss_is_the_mean_over_the_masked_tokens(tiny: Scratch, tokenizer: Any, rows: TokenRows) -> None:
    no_dropout = Scratch(layers=1, hidden_size=32, heads=2, max_length=64, dropout=0.0)
    batch = TrainingBatches(rows.take(np.arange(100)), Masking(), 3, 16, 1)[0]
    loss_sum, masked = masked_lm_loss_sum(no_dropout.load(tokenizer, seed=0), batch)
    module = fit(no_dropout.load(tokenizer, seed=0), rows, max_steps=1, limit_val_batches=0)
    assert float(module.trainer.callback_metrics["train/loss"]) == pytest.approx(
        float(loss_sum.detach() / masked), rel=1e-6
    )
    assert module.tokens_seen == batch.num_tokens


def test_values_are_logged_in_one_call_at_the_configured_interval(model: Any, rows: TokenRows) -> None:
    class RecordingLogger(pl.loggers.logger.DummyLogger):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            calls.append((step, {name: value for name, value in metrics.items() if name != "epoch"}))

    calls: list[tuple[int, dict[str, float]]] = []
    recorder, logger = RecordBatches(), RecordingLogger()
    module = fit(
        model, rows, callbacks=[recorder], max_steps=5, logger=logger, log_every_n_steps=2, val_check_interval=4
    )
    assert [step for step, _ in calls] == [1, 3, 3], "Lightning counts steps from 0"
    training_values, validation_values = calls[1][1], calls[2][1]
    assert training_values.keys() == {"train/loss", "train/tokens", "train/learning_rate"}
    assert training_values["train/learning_rate"] == recorder.rates[3]
    assert calls[0][1]["train/tokens"] < training_values["train/tokens"] < module.tokens_seen
    assert validation_values.keys() == {"validation/loss", "validation/perplexity"}
    assert module.trainer.progress_bar_metrics["train/loss"] == training_values["train/loss"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_clipping_applies_to_the_gradients_of_the_mean_loss(model: Any, rows: TokenRows, precision: Any) -> None:
    norms: list[float] = []

    def record_norm(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        norms.append(float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))))

    def build_fused(parameters: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
        optimizer.register_step_post_hook(record_norm)
        return optimizer

    settings: dict[str, Any] = {"gradient_clip_val": 0.01, "accumulate_grad_batches": 2, "precision": precision}
    fit(model, rows, build_fused, limit_val_batches=0, **settings)
    assert all(parameter.grad is None for parameter in model.parameters()), "gradients are freed after each step"
    assert norms
    assert norms == pytest.approx([0.01] * len(norms), rel=1e-3)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(
    tiny: Scratch, tokenizer: Any, rows: TokenRows, tmp_path: Path, accumulate: int
) -> None:
    settings: dict[str, Any] = {"max_steps": 9, "val_check_interval": 4, "accumulate_grad_batches": accumulate}
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=4, save_top_k=-1)
    uninterrupted = fit(tiny.load(tokenizer, 0), rows, callbacks=[checkpoint], **settings)
    torch.manual_seed(99)  # the global random state must not matter
    resumed = fit(tiny.load(tokenizer, 7), rows, ckpt_path=tmp_path / "step=4.ckpt", **settings)
    assert resumed.trainer.global_step == uninterrupted.trainer.global_step == 9
    for name, weights in uninterrupted.model.state_dict().items():
        assert torch.equal(weights, resumed.model.state_dict()[name]), name
    assert resumed.tokens_seen == uninterrupted.tokens_seen
    expected, actual = uninterrupted.trainer.callback_metrics, resumed.trainer.callback_metrics
    assert {name: float(value) for name, value in actual.items()} == {name: float(v) for name, v in expected.items()}


def test_validation_does_not_affect_training(tiny: Scratch, tokenizer: Any, rows: TokenRows) -> None:
    with_validation, without_validation = (
        fit(tiny.load(tokenizer, 0), rows, **settings)
        for settings in ({"val_check_interval": 1}, {"limit_val_batches": 0})
    )
    for name, weights in with_validation.model.state_dict().items():
        assert torch.equal(weights, without_validation.model.state_dict()[name]), name


def test_both_forward_passes_train_the_same_model(tokenizer: Any, rows: TokenRows) -> None:
    no_dropout = Scratch(layers=1, hidden_size=32, heads=2, max_length=64, dropout=0.0)
    metrics = {}
    for forward in ("efficient", "reference"):
        module = fit(no_dropout.load(tokenizer, 0), rows, forward=forward, max_steps=6)
        metrics[forward] = {name: float(value) for name, value in module.trainer.callback_metrics.items()}
    assert metrics["efficient"] == pytest.approx(metrics["reference"], rel=1e-4)
    assert metrics["efficient"].keys() >= {"train/loss", "train/tokens", "validation/loss"}


def test_an_unsupported_model_is_an_error_with_the_efficient_forward_pass(model: Any, rows: TokenRows) -> None:
    model.distilbert.transformer.layer[0].ffn.lin1.register_forward_hook(lambda *_: None)
    with pytest.raises(WinnowError, match=r"lin1 has a hook or a replaced forward method"):
        fit(model, rows, forward="efficient")


def test_dropout_is_a_function_of_seed_and_step(model: Any, rows: TokenRows) -> None:
    module = fit(model, rows, optimizer=functools.partial(torch.optim.SGD, lr=0.0), max_steps=1, limit_val_batches=0)
    batch = TrainingBatches(rows, Masking(), 1, 16, 1)[0]
    first = module.training_step(batch, 0).item()
    assert module.training_step(batch, 0).item() == first
    module.seed = 4
    assert module.training_step(batch, 0).item() != first


def test_a_loss_that_is_not_finite_is_an_error_with_the_step(model: Any, rows: TokenRows, tmp_path: Path) -> None:
    class SetNan(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 5:
                with torch.no_grad():
                    module.model.vocab_projector.bias.fill_(math.nan)

    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    with pytest.raises(WinnowError, match=r"not a finite number at step 6.*row ids [0-9a-f]{16}"):
        fit(model, rows, callbacks=[SetNan(), checkpoint], max_steps=20, log_every_n_steps=10, limit_val_batches=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step=2.ckpt", "step=4.ckpt"]
    assert all(
        torch.isfinite(weights).all()
        for weights in torch.load(tmp_path / "step=4.ckpt", weights_only=True)["state_dict"].values()
    )


def test_the_model_overfits_a_repeated_batch(model: Any, rows: TokenRows) -> None:
    recorder = RecordBatches()
    high_rate = functools.partial(torch.optim.AdamW, lr=2e-2)
    module = fit(model, rows, high_rate, callbacks=[recorder], max_steps=60, overfit_batches=1, limit_val_batches=0)
    assert float(module.trainer.callback_metrics["train/loss"]) < 1.0
    assert recorder.masked % 60 == 0  # the same masks every time


def test_fast_dev_run_takes_one_step(model: Any, rows: TokenRows) -> None:
    module = fit(model, rows, fast_dev_run=True)
    assert module.trainer.global_step == 1
    assert module.trainer.callback_metrics["validation/loss"] > 0


def test_without_max_steps_an_epoch_is_one_pass_over_the_rows(model: Any, rows: TokenRows) -> None:
    module = fit(model, rows, max_steps=-1, max_epochs=2, limit_val_batches=0)
    assert module.trainer.global_step == 2 * math.ceil(100 / 16)
