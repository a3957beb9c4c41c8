"""Features of the training loop: weight averaging, checkpoints, freezing, budgets, throughput and the progress bar."""

import functools
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from rich.console import Console
from torch.utils.flop_counter import FlopCounterMode

from fixtures.trainers import quiet_trainer
from winnow.training import (
    MaskedLanguageDataModule,
    MaskedLanguageModule,
    Masking,
    Scratch,
    Shard,
    TokenRows,
    TrainingBatches,
    masked_lm_loss_sum,
)
from winnow.training.checkpoint import AtomicCheckpointIO, BestCheckpoint, LastCheckpoint
from winnow.training.forward import efficient_forward
from winnow.training.masked_batch import build_masked_batch
from winnow.training.optimization import enable_gradient_checkpointing, freeze_parameters
from winnow.training.progress import StepProgressBar
from winnow.training.throughput import Throughput, flops_per_token, measure_peak_flops


def fit(
    model: Any, rows: TokenRows, *callbacks: Any, resume: Path | None = None, forward: Any = "auto", **settings: Any
) -> Any:
    optimizer = functools.partial(torch.optim.AdamW, lr=3e-3)
    module = MaskedLanguageModule(model, optimizer, warmup_fraction=0.0, seed=3, forward=forward)
    data = MaskedLanguageDataModule(rows.take(np.arange(100)), rows.take(np.arange(100, 140)), Masking(), 16, seed=3)
    defaults: dict[str, Any] = {
        "max_steps": 8,
        "plugins": [AtomicCheckpointIO()],
        "check_val_every_n_epoch": None,
        "val_check_interval": 2,
        "log_every_n_steps": 2,
        "callbacks": list(callbacks),
    }
    quiet_trainer(**(defaults | settings)).fit(module, data, ckpt_path=resume, weights_only=True)
    return module


class RecordWeights(Callback):
    """Records the weights after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.steps.append({name: weights.clone() for name, weights in module.model.state_dict().items()})


def test_the_average_is_validated_and_saved_but_does_not_affect_training(
    tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    plain, averaged = RecordWeights(), RecordWeights()
    without_average = fit(tiny.load(tokenizer, 0), rows, plain)
    module = fit(
        tiny.load(tokenizer, 0), rows, EMAWeightAveraging(decay=0.5, use_buffers=False), averaged,
        BestCheckpoint(tmp_path / "best.ckpt"),
    )  # fmt: skip
    expected = dict(plain.steps[0])
    for step, weights in enumerate(plain.steps):
        for name, values in weights.items():
            assert torch.equal(values, averaged.steps[step][name]), name
            expected[name] = 0.5 * expected[name] + 0.5 * values if step else values
    for name, values in module.model.state_dict().items():
        torch.testing.assert_close(values, expected[name], rtol=1e-5, atol=1e-7)
    losses = [float(m.trainer.callback_metrics["validation/loss"]) for m in (without_average, module)]
    assert losses[0] != losses[1]
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == 8
    torch.testing.assert_close(best["state_dict"]["model.vocab_transform.weight"], expected["vocab_transform.weight"])


def test_an_average_resumes_bit_identically(tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path) -> None:
    class Crash(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 5:
                raise RuntimeError("power failure")

    def run(*more: Any, resume: Path | None = None) -> Any:
        average = EMAWeightAveraging(decay=0.9, use_buffers=False)
        return fit(tiny.load(tokenizer, 0), rows, average, *more, resume=resume)

    uninterrupted, path = run(), tmp_path / "last.ckpt"
    with pytest.raises(RuntimeError):
        run(Crash(), LastCheckpoint(path, 2))
    resumed = run(LastCheckpoint(path, 2), resume=path)
    for name, values in uninterrupted.model.state_dict().items():
        assert torch.equal(values, resumed.model.state_dict()[name]), name
    final = torch.load(path, weights_only=True)  # a rerun of a complete run restores this checkpoint
    assert final["complete"]
    assert torch.equal(final["state_dict"]["model.vocab_transform.weight"], uninterrupted.model.vocab_transform.weight)


def test_the_best_weights_survive_an_interruption(tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path / "best.ckpt")
    model = tiny.load(tokenizer, 0)
    fit(model, rows, best, LastCheckpoint(tmp_path / "last.ckpt", 2), max_steps=4)
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["validation_loss"] == state["validation_loss"] == best.best
    restored = BestCheckpoint(tmp_path / "best.ckpt")
    restored.best = 0.0
    fit(tiny.load(tokenizer, 0), rows, restored, max_steps=4)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == saved["global_step"]


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_gradient_checkpointing_trains_the_same_model(rows: TokenRows, tokenizer: Any, forward: Any) -> None:
    """The recomputed activations use the same dropout masks."""
    source = Scratch(layers=3, hidden_size=32, heads=2, max_length=64)
    plain, checkpointed = source.load(tokenizer, 0), source.load(tokenizer, 0)
    enable_gradient_checkpointing(checkpointed)
    for model in (plain, checkpointed):
        fit(model, rows, max_steps=3, forward=forward)
    for name, weights in plain.state_dict().items():
        assert torch.equal(weights, checkpointed.state_dict()[name]), name


def test_frozen_weights_do_not_change(model: Any, rows: TokenRows) -> None:
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    freeze_parameters(model, ["distilbert.embeddings", "distilbert.transformer.layer.0.attention"])
    fit(model, rows, max_steps=3)
    unchanged = {name for name, weights in model.state_dict().items() if torch.equal(weights, before[name])}
    assert {
        "distilbert.embeddings.LayerNorm.weight",
        "distilbert.transformer.layer.0.attention.q_lin.weight",
    } <= unchanged
    assert "vocab_projector.weight" in unchanged  # tied to the embeddings
    assert "distilbert.transformer.layer.0.ffn.lin1.weight" not in unchanged


@pytest.mark.parametrize("tokens", [1, 700, 5000])
def test_a_token_budget_is_converted_to_steps(rows: TokenRows, tokens: int) -> None:
    batches = TrainingBatches(rows.take(np.arange(100)), Masking(), 3, 16, 1)
    steps = batches.count_steps_for_tokens(tokens)
    processed = np.cumsum([batches[step].num_tokens for step in range(steps)])
    assert processed[-1] >= tokens
    assert steps == 1 or processed[-2] < tokens
    sharded = TrainingBatches(rows.take(np.arange(100)), Masking(), 3, 16, 1, Shard(0, 2, 4))
    assert sharded.count_steps_for_tokens(tokens) == steps


@pytest.mark.parametrize("passes", [0.1, 1, 2.5])
@pytest.mark.parametrize("max_tokens", [None, 200])
def test_passes_are_converted_to_steps(rows: TokenRows, passes: float, max_tokens: int | None) -> None:
    few_rows = rows.take(np.arange(100))
    batches = TrainingBatches(few_rows, Masking(), 3, 16, 1, max_tokens=max_tokens)
    steps = batches.count_steps_for_passes(passes)
    row_counts = np.cumsum([len(batches.select_rows(step)[0]) for step in range(steps)])
    if max_tokens is None:
        assert row_counts[-1] >= 100 * passes > row_counts[-1] - 16
    else:
        assert row_counts[-1] / 100 == pytest.approx(passes, abs=0.15)
    half = TrainingBatches(few_rows.take(np.arange(50)), Masking(), 3, 16, 1).count_steps_for_passes(passes)
    assert half == max(1, -(-50 * passes // 16))


def test_the_throughput_is_logged_and_plausible(model: Any, rows: TokenRows) -> None:
    throughput, restored = Throughput(), Throughput()
    module = fit(model, rows, throughput)
    restored.load_state_dict(throughput.state_dict())
    assert 0 < 8 * flops_per_token(model)[0] < restored.total_flops == throughput.total_flops
    metrics = module.trainer.callback_metrics
    assert 100 < metrics["train/tokens_per_second"] < 1e7
    assert 0 < metrics.get("train/peak_share", 1) <= 1, "omitted on a busy machine"
    assert metrics["train/learning_rate"] == pytest.approx(3e-3 * 1 / 8)
    peak = measure_peak_flops("cpu", torch.float32)
    assert peak is None or peak > 1e8


@pytest.mark.parametrize("layers", [1, 3])
def test_a_token_needs_six_operations_per_weight(tokenizer: Any, layers: int) -> None:
    """The last layer computes keys and values for every token, and everything else only for masked tokens."""
    model = Scratch(layers=layers, hidden_size=32, heads=2).load(tokenizer, 0)
    encoder, head = flops_per_token(model)
    layer, keys_and_values = 4 * 32 * 32 + 2 * 32 * 128, 2 * 32 * 32
    assert encoder == 6 * ((layers - 1) * layer + keys_and_values)
    assert head == 6 * (layer - keys_and_values + 32 * 32 + 32 * model.config.vocab_size)


def test_flops_per_token_match_a_training_step(model: Any, rows: TokenRows) -> None:
    batch = build_masked_batch(rows.take(np.arange(16)), Masking(), 0)
    with FlopCounterMode(display=False) as counter:
        masked_lm_loss_sum(model, batch)[0].backward()
    encoder, head = flops_per_token(model)
    attention = [flops for name, flops in counter.get_flop_counts()["Global"].items() if "bmm" in str(name)]
    counted = counter.get_total_flops() - sum(attention)
    tokens, _, masked_indices, _ = efficient_forward._pad_to_few_sizes(batch, batch.position_ids)
    assert 0 <= len(tokens) - len(batch.input_ids) <= len(tokens) / 16
    assert 0 <= len(masked_indices) - len(batch.masked_indices) <= len(masked_indices) / 8
    assert counted == len(tokens) * encoder + len(masked_indices) * head


def test_the_progress_bar_shows_steps_and_metrics_in_80_columns(
    model: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    monkeypatch.setattr("rich.get_console", lambda: screen)
    monkeypatch.setattr("rich.progress.get_console", lambda: screen)
    fit(model, rows, Throughput(), StepProgressBar())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert re.match(r"trained +\S+ +8/8 steps, 0:00:\d\d elapsed, 0:00:00 left", lines[-2])
    assert re.match(r"loss \d\.\d{3}, validation \d\.\d{3}, lr \S+, [\d,]+ tokens/s, \d+% of peak", lines[-1])
    assert max(map(len, lines)) <= 80
