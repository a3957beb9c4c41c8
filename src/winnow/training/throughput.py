"""How fast a training goes: tokens a second, and the share of what the machine can do."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from winnow.training.logging import log_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Throughput(pl.Callback):
    """Logs ``train/tokens_per_second`` and ``train/peak_share`` at the trainer's pace.

    Time spent looking at held-out rows or writing checkpoints does not count. The share is that of the peak of
    :func:`measured_peak`, over all processes, in operations that the loss needs; see :func:`operations`.
    """

    def __init__(self) -> None:
        self._since = self._tokens = self._masked = 0.0
        self._paused: float | None = None
        self._peak = self._body = self._head = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure the machine, once in a process."""
        precision = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
        self._peak = measured_peak(pl_module.device.type, precision) * trainer.world_size
        self._body, self._head = operations(pl_module.model)
        self._begin(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop the clock."""
        self._paused = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Let the clock go on; after a look at the held-out rows come checkpoints, which count as little."""
        if self._paused is not None:
            self._since += time.perf_counter() - self._paused
            self._paused = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log where the module has just logged its loss."""
        pace = trainer.log_every_n_steps * trainer.accumulate_grad_batches
        if pace == 0 or (batch_idx + 1) % pace:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        tokens, masked = pl_module.tokens_seen - self._tokens, pl_module.masked_seen - self._masked
        seconds = time.perf_counter() - self._since
        if tokens > 0 and seconds > 0:
            done = tokens * self._body + masked * self._head
            speed = {"train/tokens_per_second": tokens / seconds, "train/peak_share": done / seconds / self._peak}
            log_step(trainer, speed, trainer.global_step - 1)
        self._begin(pl_module)

    def _begin(self, pl_module: Any) -> None:
        self._since, self._paused = time.perf_counter(), None
        self._tokens, self._masked = pl_module.tokens_seen, pl_module.masked_seen


def operations(model: PreTrainedModel) -> tuple[float, float]:
    """Return the floating-point operations of a training step for each token, and for each masked token.

    Six for each weight of a matrix, two in the forward and four in the backward pass (Kaplan et al. 2020, section
    2.1): the encoder's for every token, the head's for the masked ones. Embeddings are looked up and cost none, and the
    products inside attention, a few percent for short rows, are left out. What a forward does beyond that, such as
    padding, earns nothing here.
    """
    embeddings = {id(weights) for name, weights in model.base_model.named_parameters() if "embedding" in name}
    encoder = [
        weights for weights in model.base_model.parameters() if weights.ndim == 2 and id(weights) not in embeddings
    ]
    known = {id(weights) for weights in encoder}
    inside = {id(weights) for weights in model.base_model.parameters()}
    vocabulary = model.get_output_embeddings()
    head = [weights for weights in model.parameters() if weights.ndim == 2 and id(weights) not in known | inside]
    if vocabulary is not None and id(vocabulary.weight) in inside:  # shared with the embeddings
        head.append(vocabulary.weight)
    return (6.0 * sum(weights.numel() for weights in encoder), 6.0 * sum(weights.numel() for weights in head))


@functools.cache
def measured_peak(device: str, dtype: torch.dtype) -> float:
    """Return the floating-point operations a second that a large matrix product reaches: the best of a few.

    It takes a tenth of a second, once in a process, on the threads that training uses.
    """
    size = 8192 if device == "cuda" else 768
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    with torch.no_grad():
        for _ in range(4):
            begun = time.perf_counter()
            torch.mm(left, right)
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - begun)
    return 2.0 * size**3 / best
