"""Train two steps and write their gradients and metrics; used by `test_ddp` as a function and as two processes.

The two processes also interrupt a longer run with a signal to the second process, and resume it.
"""

import functools
import hashlib
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytorch_lightning as pl
import torch

from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, Masking, Scratch, tokenize
from winnow.training.checkpoint import AtomicCheckpointIO, LastCheckpoint
from winnow.training.wordpiece import train_wordpiece

WORDS = ["comfortable", "durable", "stylish", "expensive", "ugly", "heavy", "dirty"]
TEXTS = [f"{brand} shoes are {'very ' * i}{word}" for brand in ("nike", "puma") for i, word in enumerate(WORDS)]


class RecordingModule(MaskedLanguageModule):
    """Records the gradients of each optimizer step."""

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self.recorded: list[dict[str, torch.Tensor]] = []
        self.without_mask = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.without_mask += len(batch.masked_indices) == 0
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        self.recorded.append({name: parameter.grad.clone() for name, parameter in self.model.named_parameters()})


class Interrupt(pl.Callback):
    """Sends SIGTERM to the second process between two accumulated batches."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 5 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train(accumulate: int = 1, dropout: float = 0.0, checkpoint: Path | None = None, **trainer: Any) -> dict[str, Any]:
    """Train two steps of nine rows each, on 14 rows; 11 of them are also the validation split."""
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in TEXTS]
    source = Scratch(layers=1, hidden_size=32, heads=2, dropout=dropout)
    tokenizer = train_wordpiece(TEXTS, 200, 64)
    with tempfile.TemporaryDirectory() as cache:
        rows = tokenize(pa.table({"row_id": ids, "text": TEXTS}), tokenizer, 64, Path(cache))
        held_out = tokenize(pa.table({"row_id": ids[:11], "text": TEXTS[:11]}), tokenizer, 64, Path(cache))
        module = RecordingModule(source.load(tokenizer, seed=0), functools.partial(torch.optim.AdamW, lr=1e-3))
        data = MaskedLanguageDataModule(rows, held_out, Masking(rate=0.3), 9, seed=1, validation_batch_size=3)
        pl.Trainer(
            accelerator="cpu",
            accumulate_grad_batches=accumulate,
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=checkpoint is not None,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            plugins=[AtomicCheckpointIO()],
            **{"devices": 1, "max_steps": 2, **trainer},
        ).fit(module, data, ckpt_path=checkpoint if checkpoint and checkpoint.exists() else None, weights_only=True)
    return {
        "rank": module.global_rank,
        "gradients": module.recorded,
        "metrics": {name: float(value) for name, value in module.trainer.callback_metrics.items()},
        "tokens": module.tokens_seen,
        "without_mask": module.without_mask,
        "weights": module.model.state_dict(),
    }


def interrupt_and_resume(folder: Path) -> dict[str, Any]:
    """Compare an uninterrupted run of six steps with an interrupted and resumed one.

    Returns:
        The exit code, the step of the interruption, and whether the final weights are equal.
    """
    settings = {"accumulate": 2, "dropout": 0.1, "max_steps": 6, "strategy": "ddp", "devices": 2}
    uninterrupted = train(**settings)
    last_checkpoint, code = LastCheckpoint(folder / "last.ckpt", every_steps=100), 0
    try:
        train(**settings, checkpoint=last_checkpoint.path, callbacks=[Interrupt(), last_checkpoint])
    except SystemExit as stop:
        code = stop.code
    step = torch.load(last_checkpoint.path, weights_only=True)["global_step"]
    resumed = train(
        **settings, checkpoint=last_checkpoint.path, callbacks=[LastCheckpoint(last_checkpoint.path, every_steps=100)]
    )
    equal = all(torch.equal(weights, resumed["weights"][name]) for name, weights in uninterrupted["weights"].items())
    return {"code": code, "step": step, "equal": equal}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    result = train(accumulate=int(sys.argv[2]), strategy="ddp", devices=2)
    result |= interrupt_and_resume(out.parent)
    torch.save(result, out.with_name(f"rank{result['rank']}.pt"))
