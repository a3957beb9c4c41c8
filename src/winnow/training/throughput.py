"""Measure training throughput in tokens per second and as a fraction of the machine's peak performance."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from winnow.training.forward.architectures import find_architectures
from winnow.training.step_logging import log_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MIN_CPU_FRACTION = 0.9
"""The minimum CPU time of a matmul, as a fraction of the CPU time that all threads would use on an idle machine."""


class Throughput(pl.Callback):
    """Logs ``train/tokens_per_second`` and ``train/peak_share`` every ``log_every_n_steps`` steps.

    The time spent on validation and checkpoints is excluded. ``train/peak_share`` is this process's rate of
    floating-point operations, as a fraction of the peak rate (:func:`measure_peak_flops`). The rate counts only
    operations that the loss requires (:func:`flops_per_token`). Tokens in rows without masked tokens are
    counted as tokens, but require no operations. The fraction is not logged if other programs used the processor
    while the peak was measured.

    Attributes:
        total_flops: The operations of all steps so far, including those before an interruption. In distributed
            training, the number of this process is multiplied by the number of processes.
    """

    def __init__(self) -> None:
        self._started_at = self._start_tokens = self._flops = 0.0
        self.total_flops = 0.0
        self._paused_at: float | None = None
        self._peak_flops: float | None = None
        self._encoder_flops = self._head_flops = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the operations so far, to be saved in a checkpoint."""
        return {"total_flops": self.total_flops}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the operations of an interrupted run."""
        self.total_flops = float(state_dict.get("total_flops", 0.0))

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Measure the peak performance of the machine, and start the first interval."""
        precision = torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32
        self._peak_flops = measure_peak_flops(pl_module.device.type, precision)
        self._encoder_flops, self._head_flops = flops_per_token(pl_module.model)
        self._start_interval(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Pause the time measurement."""
        self._paused_at = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Resume the time measurement after validation and the checkpoint that follows it."""
        if self._paused_at is not None:
            self._started_at += time.perf_counter() - self._paused_at
            self._paused_at = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the throughput at the same steps at which the module logs its loss."""
        flops = len(batch.input_ids) * self._encoder_flops + len(batch.masked_indices) * self._head_flops
        self._flops += flops
        self.total_flops += flops * trainer.world_size
        interval = trainer.log_every_n_steps * trainer.accumulate_grad_batches
        if interval == 0 or (batch_idx + 1) % interval:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        tokens, seconds = pl_module.tokens_seen - self._start_tokens, time.perf_counter() - self._started_at
        if tokens > 0 and seconds > 0:
            values = {"train/tokens_per_second": tokens / seconds}
            if self._peak_flops is not None and self._flops <= seconds * self._peak_flops:
                values["train/peak_share"] = self._flops / seconds / self._peak_flops
            log_step(trainer, values, trainer.global_step - 1)
        self._start_interval(pl_module)

    def _start_interval(self, pl_module: Any) -> None:
        self._started_at, self._paused_at = time.perf_counter(), None
        self._start_tokens, self._flops = pl_module.tokens_seen, 0.0


def flops_per_token(model: PreTrainedModel) -> tuple[float, float]:
    """Return the training FLOPs (floating-point operations) per token, and the additional FLOPs per masked token.

    Each matrix weight requires six operations per token: two in the forward and four in the backward pass (Kaplan et
    al. 2020, section 2.1). Encoder weights count for every token, and head weights count for masked tokens only. For
    models that the efficient forward pass supports, the weights of the last layer also count for masked tokens only,
    except its key and value projections. Embedding lookups require no operations. The result excludes the
    matmuls inside attention, which add a few percent for short rows, and unnecessary work such as padding.
    """
    encoder_names = {id(weight): name for name, weight in model.base_model.named_parameters()}
    matrices = {id(weight): weight.numel() for weight in model.parameters() if weight.ndim == 2}
    encoder = {i: size for i, size in matrices.items() if "embedding" not in encoder_names.get(i, "embedding")}
    head = {i: size for i, size in matrices.items() if i not in encoder_names}
    output_embeddings = model.get_output_embeddings()
    if output_embeddings is not None:  # the weights are tied to the input embeddings, or already in `head`
        head[id(output_embeddings.weight)] = output_embeddings.weight.numel()
    if architecture := find_architectures().get(type(model).__name__):
        last_layer = architecture.layers(model)[-1]
        _, *keys_and_values = (projection.weight for projection in architecture.projections(last_layer))
        last_layer_ids = {id(weight) for weight in last_layer.parameters()} & encoder.keys()
        for i in last_layer_ids - {id(weight) for weight in keys_and_values}:
            head[i] = encoder.pop(i)
    return 6.0 * sum(encoder.values()), 6.0 * sum(head.values())


@functools.cache
def measure_peak_flops(device: str, dtype: torch.dtype) -> float | None:
    """Return the floating-point operations per second of a large matmul, as the maximum of four measurements.

    The measurement takes about 0.1 seconds, runs once per process, and uses the same threads as training. The result
    is `None` if the fastest matmul on a CPU had to wait for other programs, because its rate is then below the peak.
    """
    size = 8192 if device == "cuda" else 768
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best_seconds, best_cpu_seconds = float("inf"), 0.0
    with torch.no_grad():
        for _ in range(4):
            start, cpu_start = time.perf_counter(), time.process_time()
            torch.mm(left, right)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
            if seconds < best_seconds:
                best_seconds, best_cpu_seconds = seconds, cpu_seconds
    if device == "cpu" and best_cpu_seconds < MIN_CPU_FRACTION * torch.get_num_threads() * best_seconds:
        return None
    return 2.0 * size**3 / best_seconds
