"""Train a model on sentences, and compare its scores before and after."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import pipeline

from fixtures.trainers import quiet_trainer
from winnow.evaluation import Probe, compute_slice_metrics, score_rows
from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, TokenRows


def test_thirty_steps_lower_the_loss_and_raise_the_log_odds(
    model: Any, tokenizer: Any, rows: TokenRows, tmp_path: Path
) -> None:
    positive = tokenizer.convert_tokens_to_ids(["comfortable", "durable", "stylish"])
    is_positive = np.isin(rows.ids[rows.offsets[1:] - 2], positive)
    train, held_out = rows.take(np.flatnonzero(is_positive)[:-40]), rows.take(np.flatnonzero(is_positive)[-40:])
    probe = Probe(
        prompts=["Nike hats are really [MASK]", "the shirts by Puma are [MASK]"],
        wanted=["comfortable", "durable", "stylish"],
        unwanted=["expensive", "ugly", "heavy", "dirty"],
    )

    def measure() -> tuple[float, float]:
        loss = compute_slice_metrics(score_rows(model, held_out, Masking(), seed=0))["all"]["loss"]
        return loss, probe.run(model, tokenizer).summary()["log_odds"]

    loss_before, odds_before = measure()
    module = MaskedLanguageModule(model, functools.partial(torch.optim.AdamW, lr=1e-2), seed=1)
    data = MaskedLanguageDataModule(train, held_out, Masking(), batch_size=32, seed=1)
    quiet_trainer(max_steps=30).fit(module, data)
    loss_after, odds_after = measure()
    assert loss_after < 0.75 * loss_before
    assert odds_after > odds_before + 0.5
    validation = float(module.trainer.callback_metrics["validation/loss"])
    assert abs(validation - loss_after) < 1e-5  # the same rows, masks and weights

    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    fill = pipeline("fill-mask", str(tmp_path), device="cpu")
    ours = probe.run(model, tokenizer).fills.to_pylist()[0]
    theirs = fill("Nike hats are really [MASK]")[0]
    assert (theirs["token_str"], round(theirs["score"], 5)) == (ours["word"], round(ours["probability"], 5))
