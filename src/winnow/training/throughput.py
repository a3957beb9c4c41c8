"""How fast a training goes: tokens a second, and the share of what the machine can do."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from winnow.training.forward.efficient import SHAPES
from winnow.training.step_logging import log_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Throughput(pl.Callback):
    """Logs ``train/tokens_per_second`` and ``train/peak_share`` at the trainer's pace.

    Time spent looking at held-out rows or writing checkpoints does not count. The share is that of the peak of
    :func:`measured_peak`, in this process, in operations that the loss needs: see :func:`operations`. Rows in which
    nothing is to be guessed count as tokens seen, and need no operation.
    """

    def __init__(self) -> None:
        self._since = self._tokens = self._needed = 0.0
        self._paused: float | None = None
        self._peak = self._body = self._head = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure the machine, once in a process."""
        precision = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
        self._peak = measured_peak(pl_module.device.type, precision)
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
        self._needed += len(batch.input_ids) * self._body + len(batch.masked) * self._head
        pace = trainer.log_every_n_steps * trainer.accumulate_grad_batches
        if pace == 0 or (batch_idx + 1) % pace:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        tokens, seconds = pl_module.tokens_seen - self._tokens, time.perf_counter() - self._since
        if tokens > 0 and seconds > 0:
            share = self._needed / seconds / self._peak
            speed = {"train/tokens_per_second": tokens / seconds, "train/peak_share": share}
            log_step(trainer, speed, trainer.global_step - 1)
        self._begin(pl_module)

    def _begin(self, pl_module: Any) -> None:
        self._since, self._paused = time.perf_counter(), None
        self._tokens, self._needed = pl_module.tokens_seen, 0.0


def operations(model: PreTrainedModel) -> tuple[float, float]:
    """Return the floating-point operations of a training step for each token, and for each masked token.

    Six for each weight of a matrix, two in the forward and four in the backward pass (Kaplan et al. 2020, section
    2.1): the encoder's for every token, the head's for the masked ones, and of the last layer all but keys and values
    for these too, where the efficient forward knows it. Embeddings are looked up and cost none, and the products inside
    attention, a few percent for short rows, are left out. What a forward does beyond that, such as padding, earns
    nothing here.
    """
    inside = {id(one): name for name, one in model.base_model.named_parameters()}
    matrices = {id(one): one.numel() for one in model.parameters() if one.ndim == 2}
    body = {one: size for one, size in matrices.items() if "embedding" not in inside.get(one, "embedding")}
    head = {one: size for one, size in matrices.items() if one not in inside}
    vocabulary = model.get_output_embeddings()
    if vocabulary is not None:  # shared with the embeddings, or among the others
        head[id(vocabulary.weight)] = vocabulary.weight.numel()
    if shape := SHAPES.get(type(model).__name__):
        last = shape.layers(model)[-1]
        _, *keys_and_values = (part.weight for part in shape.projections(last))
        for one in {id(one) for one in last.parameters()} & body.keys() - {id(one) for one in keys_and_values}:
            head[one] = body.pop(one)
    return 6.0 * sum(body.values()), 6.0 * sum(head.values())


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
