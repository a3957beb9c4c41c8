"""Trains two steps and writes what each of them saw; `test_ddp` starts it as two processes and calls it in its own."""

import functools
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytorch_lightning as pl
import torch

from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, Scratch, tokenize
from winnow.training.wordpiece import train_wordpiece

WORDS = ["comfortable", "durable", "stylish", "expensive", "ugly", "heavy", "dirty"]
TEXTS = [f"{brand} shoes are {'very ' * i}{word}" for brand in ("nike", "puma") for i, word in enumerate(WORDS)]


class Watched(MaskedLanguageModule):
    """Keeps the gradients that each optimizer step uses."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        self.seen.append({name: parameter.grad.clone() for name, parameter in self.model.named_parameters()})


def train(accumulate: int = 1, **trainer: Any) -> dict[str, Any]:
    """Train two steps of nine rows without dropout, on 14 rows, of which 11 are held-out too."""
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in TEXTS]
    source = Scratch(layers=1, hidden_size=32, heads=2, dropout=0.0)
    tokenizer = train_wordpiece(TEXTS, 200, 64)
    with tempfile.TemporaryDirectory() as cache:
        rows = tokenize(pa.table({"row_id": ids, "text": TEXTS}), tokenizer, 64, Path(cache))
        held_out = tokenize(pa.table({"row_id": ids[:11], "text": TEXTS[:11]}), tokenizer, 64, Path(cache))
        module = Watched(source.load(tokenizer, seed=0), functools.partial(torch.optim.AdamW, lr=1e-3))
        data = MaskedLanguageDataModule(rows, held_out, Masking(rate=0.3), 9, seed=1, validation_batch_size=3)
        pl.Trainer(
            accelerator="cpu",
            max_steps=2,
            accumulate_grad_batches=accumulate,
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            **{"devices": 1, **trainer},
        ).fit(module, data)
    return {
        "rank": module.global_rank,
        "gradients": module.seen,
        "metrics": {name: float(value) for name, value in module.trainer.callback_metrics.items()},
        "tokens": module.tokens_seen,
    }


if __name__ == "__main__":
    result = train(accumulate=int(sys.argv[2]), strategy="ddp", devices=2)
    if result["rank"] == 0:
        torch.save(result, sys.argv[1])
