"""What users expect of a training loop: averages, early stopping, budgets, speed and a bar."""

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
    Share,
    TokenRows,
    TrainingBatches,
    masked_lm_sums,
)
from winnow.training.batch import masked_batch
from winnow.training.checkpoint import BestCheckpoint, LastCheckpoint, WholeFiles
from winnow.training.forward import efficient
from winnow.training.optimization import compute_twice, freeze
from winnow.training.progress import StepProgressBar
from winnow.training.throughput import Throughput, measured_peak, operations


def fit(
    model: Any, rows: TokenRows, *callbacks: Any, resume: Path | None = None, forward: Any = "auto", **settings: Any
) -> Any:
    optimizer = functools.partial(torch.optim.AdamW, lr=3e-3)
    module = MaskedLanguageModule(model, optimizer, warmup_fraction=0.0, seed=3, forward=forward)
    data = MaskedLanguageDataModule(rows.take(np.arange(100)), rows.take(np.arange(100, 140)), Masking(), 16, seed=3)
    defaults: dict[str, Any] = {
        "max_steps": 8,
        "plugins": [WholeFiles()],
        "check_val_every_n_epoch": None,
        "val_check_interval": 2,
        "log_every_n_steps": 2,
        "callbacks": list(callbacks),
    }
    quiet_trainer(**(defaults | settings)).fit(module, data, ckpt_path=resume, weights_only=True)
    return module


class Weights(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.seen.append({name: weights.clone() for name, weights in module.model.state_dict().items()})


def test_the_average_is_measured_and_kept_and_training_goes_on_without_it(
    tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    plain, averaged = Weights(), Weights()
    without = fit(tiny.load(tokenizer, 0), rows, plain)
    module = fit(
        tiny.load(tokenizer, 0), rows, EMAWeightAveraging(decay=0.5, use_buffers=False), averaged,
        BestCheckpoint(tmp_path / "best.ckpt"),
    )  # fmt: skip
    expected = dict(plain.seen[0])
    for step, weights in enumerate(plain.seen):
        for name, values in weights.items():
            assert torch.equal(values, averaged.seen[step][name]), name
            expected[name] = 0.5 * expected[name] + 0.5 * values if step else values
    for name, values in module.model.state_dict().items():
        torch.testing.assert_close(values, expected[name], rtol=1e-5, atol=1e-7)
    losses = [float(one.trainer.callback_metrics["validation/loss"]) for one in (without, module)]
    assert losses[0] != losses[1]
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["global_step"] == 8
    torch.testing.assert_close(best["state_dict"]["model.vocab_transform.weight"], expected["vocab_transform.weight"])


def test_an_average_is_resumed_bit_for_bit(tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path) -> None:
    class Breaks(Callback):
        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 5:
                raise RuntimeError("the power went")

    def run(*more: Any, resume: Path | None = None) -> Any:
        average = EMAWeightAveraging(decay=0.9, use_buffers=False)
        return fit(tiny.load(tokenizer, 0), rows, average, *more, resume=resume)

    whole, path = run(), tmp_path / "last.ckpt"
    with pytest.raises(RuntimeError):
        run(Breaks(), LastCheckpoint(path, 2))
    resumed = run(LastCheckpoint(path, 2), resume=path)
    for name, values in whole.model.state_dict().items():
        assert torch.equal(values, resumed.model.state_dict()[name]), name
    left = torch.load(path, weights_only=True)  # what is taken up when the training was done already
    assert left["complete"]
    assert torch.equal(left["state_dict"]["model.vocab_transform.weight"], whole.model.vocab_transform.weight)


def test_the_best_weights_survive_a_break(tiny: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path) -> None:
    best = BestCheckpoint(tmp_path / "best.ckpt")
    model = tiny.load(tokenizer, 0)
    fit(model, rows, best, LastCheckpoint(tmp_path / "last.ckpt", 2), max_steps=4)
    kept = torch.load(tmp_path / "best.ckpt", weights_only=True)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["validation_loss"] == state["validation_loss"] == best.best
    again = BestCheckpoint(tmp_path / "best.ckpt")
    again.best = 0.0
    fit(tiny.load(tokenizer, 0), rows, again, max_steps=4)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == kept["global_step"]


@pytest.mark.parametrize("forward", ["efficient", "reference"])
def test_activations_computed_twice_train_the_same_model(rows: TokenRows, tokenizer: Any, forward: Any) -> None:
    """Dropout is drawn the same the second time."""
    source = Scratch(layers=3, hidden_size=32, heads=2, max_length=64)
    plain, sparing = source.load(tokenizer, 0), source.load(tokenizer, 0)
    compute_twice(sparing)
    for model in (plain, sparing):
        fit(model, rows, max_steps=3, forward=forward)
    for name, weights in plain.state_dict().items():
        assert torch.equal(weights, sparing.state_dict()[name]), name


def test_frozen_weights_stay_as_they_came(model: Any, rows: TokenRows) -> None:
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    freeze(model, ["distilbert.embeddings", "distilbert.transformer.layer.0.attention"])
    fit(model, rows, max_steps=3)
    still = {name for name, weights in model.state_dict().items() if torch.equal(weights, before[name])}
    assert {"distilbert.embeddings.LayerNorm.weight", "distilbert.transformer.layer.0.attention.q_lin.weight"} <= still
    assert "vocab_projector.weight" in still  # tied to the embeddings
    assert "distilbert.transformer.layer.0.ffn.lin1.weight" not in still


@pytest.mark.parametrize("tokens", [1, 700, 5000])
def test_a_budget_of_tokens_is_known_in_steps_beforehand(rows: TokenRows, tokens: int) -> None:
    batches = TrainingBatches(rows.take(np.arange(100)), Masking(), 3, 16, 1)
    steps = batches.steps_to(tokens)
    seen = np.cumsum([batches[step].tokens for step in range(steps)])
    assert seen[-1] >= tokens
    assert steps == 1 or seen[-2] < tokens
    shared = TrainingBatches(rows.take(np.arange(100)), Masking(), 3, 16, 1, Share(0, 2, 4))
    assert shared.steps_to(tokens) == steps


def test_the_speed_is_told_and_plausible(model: Any, rows: TokenRows) -> None:
    module = fit(model, rows, Throughput())
    told = module.trainer.callback_metrics
    assert 100 < told["train/tokens_per_second"] < 1e7
    assert 0 < told["train/peak_share"] < 1.1
    assert told["train/learning_rate"] == pytest.approx(3e-3 * 1 / 8)
    assert measured_peak("cpu", torch.float32) > 1e8


@pytest.mark.parametrize("layers", [1, 3])
def test_a_token_costs_six_operations_a_weight(tokenizer: Any, layers: int) -> None:
    """Of the last layer the loss needs keys and values of every token, and the rest where one is to be guessed."""
    model = Scratch(layers=layers, hidden_size=32, heads=2).load(tokenizer, 0)
    body, head = operations(model)
    layer, keys_and_values = 4 * 32 * 32 + 2 * 32 * 128, 2 * 32 * 32
    assert body == 6 * ((layers - 1) * layer + keys_and_values)
    assert head == 6 * (layer - keys_and_values + 32 * 32 + 32 * model.config.vocab_size)


def test_the_operations_counted_are_those_that_a_step_computes(model: Any, rows: TokenRows) -> None:
    batch = masked_batch(rows.take(np.arange(16)), Masking(), 0)
    with FlopCounterMode(display=False) as counter:
        masked_lm_sums(model, batch)[0].backward()
    body, head = operations(model)
    attention = [parts for name, parts in counter.get_flop_counts()["Global"].items() if "bmm" in str(name)]
    counted = counter.get_total_flops() - sum(attention)
    tokens, _, masked, _ = efficient._in_few_sizes(batch, batch.positions)
    assert 0 <= len(tokens) - len(batch.input_ids) <= len(tokens) / 16
    assert 0 <= len(masked) - len(batch.masked) <= len(masked) / 8
    assert counted == len(tokens) * body + len(masked) * head


def test_the_bar_tells_what_matters_in_two_short_lines(
    model: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    monkeypatch.setattr("rich.get_console", lambda: screen)
    monkeypatch.setattr("rich.progress.get_console", lambda: screen)
    fit(model, rows, Throughput(), StepProgressBar())
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.file.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert re.match(r"trained +\S+ +8/8 steps, 0:00:\d\d gone, 0:00:00 left", lines[-2])
    assert re.match(r"loss \d\.\d{3}, validation \d\.\d{3}, rate \S+, [\d,]+ tokens/s, \d+% of peak", lines[-1])
    assert max(map(len, lines)) <= 80
