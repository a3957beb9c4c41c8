"""A Lightning module for masked language modeling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer

from winnow.errors import WinnowError
from winnow.training.counter_rng import derive_key
from winnow.training.forward.masked_logits import ForwardMode, masked_lm_loss_sum
from winnow.training.forward.vocab_head import recycle_head_gradient
from winnow.training.loss_metrics import MaskedLoss, Perplexity
from winnow.training.masked_batch import MaskedBatch
from winnow.training.nonfinite_loss import describe_nonfinite_rows
from winnow.training.optimization import ScheduleKind, build_parameter_groups, build_schedule
from winnow.training.step_logging import log_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MaskedLanguageModule(pl.LightningModule):
    """Trains a masked language model on the mean loss over all masked tokens in a step.

    An optimizer step uses the gradient of ``sum of token losses / number of masked tokens``, computed across all
    accumulated batches and all processes. A mean of batch means would weight tokens unequally.

    The module logs ``train/loss`` (the mean since the previous log entry), ``train/tokens`` (tokens processed so far,
    without padding), ``train/learning_rate`` (of the current step), ``validation/loss`` and ``validation/perplexity``.

    Args:
        model: The masked language model, which is trained in place.
        optimizer: A callable that builds the optimizer from parameter groups, for example
            ``functools.partial(torch.optim.AdamW, lr=5e-4)``.
        warmup_fraction: Fraction of the steps used for linear warmup; see
            :func:`winnow.training.optimization.build_schedule`.
        seed: The seed for dropout. The random state for each batch is a function of the seed, the batch and the rank,
            so a resumed run uses the same dropout masks as an uninterrupted run.
        forward: The implementation of the forward pass; see :func:`winnow.training.masked_logits`.
        scheduler: The learning rate schedule after warmup.

    Attributes:
        stop_requested: Whether this process has requested that training stop. If it is true on any process,
            :attr:`must_stop` becomes true on all processes after the same step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        warmup_fraction: float = 0.1,
        seed: int = 0,
        forward: ForwardMode = "auto",
        scheduler: ScheduleKind = "linear",
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.warmup_fraction = warmup_fraction
        self.seed = seed
        self.forward_mode: ForwardMode = forward
        self.scheduler: ScheduleKind = scheduler
        self.stop_requested = False
        self.validation_loss = MaskedLoss()
        self.validation_perplexity = Perplexity()
        self._restored_tokens, self._restored_since_logged = 0, [0.0, 0.0]

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimizer and its learning rate schedule."""
        optimizer = self.optimizer(build_parameter_groups(self.model))
        factor = build_schedule(self.scheduler, self.warmup_fraction, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Create the counters and set training mode, since transformers loads models in evaluation mode."""
        self.model.train()
        # Use plain tensors for the counters: DDP would overwrite buffers with the values from rank 0 at every step.
        self._step_sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        self._since_logged = torch.tensor(self._restored_since_logged, dtype=torch.float64, device=self.device)
        self._stop_votes = torch.zeros((), dtype=torch.float64, device=self.device)
        self._tokens = torch.tensor(self._restored_tokens, dtype=torch.float64, device=self.device)
        self._first_nonfinite_step = torch.tensor(-1, device=self.device)

    def training_step(self, batch: MaskedBatch, batch_idx: int) -> Tensor:
        """Return the mean token loss if each step has a single batch; otherwise, return the sum of the token losses.

        If the sum is returned, :meth:`on_before_optimizer_step` divides the gradients by the number of masked tokens.
        """
        index_in_step = batch_idx % self.trainer.accumulate_grad_batches
        self._seed_dropout(int(derive_key(self.seed, self.global_step, index_in_step, self.global_rank)[0] >> 1))
        loss_sum, masked = masked_lm_loss_sum(self.model, batch, self.forward_mode)
        tokens, stop = torch.tensor([batch.num_tokens, self.stop_requested], device=self.device)
        self._step_sums += torch.stack([loss_sum.detach().double(), masked, tokens, stop])
        return loss_sum / masked.clamp(min=1) if self._is_single_batch_step else loss_sum

    @property
    def _is_single_batch_step(self) -> bool:
        """Whether each step has a single batch, in which case the gradients of the mean loss need no scaling."""
        return bool(self.trainer.accumulate_grad_batches == 1 and self.trainer.world_size == 1)

    def _seed_dropout(self, seed: int) -> None:
        # Avoid torch.manual_seed: on a machine without a GPU, it queues a call, with a stack trace, for every device
        # type that might be initialized later. This takes milliseconds and leaks memory at every step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the number of masked tokens in the step, before gradient clipping."""
        loss_sum, masked, tokens, self._stop_votes = self.trainer.strategy.reduce(self._step_sums, reduce_op="sum")
        is_first = ~torch.isfinite(loss_sum) & (self._first_nonfinite_step < 0)
        self._first_nonfinite_step = torch.where(is_first, self.global_step + 1, self._first_nonfinite_step)
        if self.device.type == "cpu":  # the check is free on a CPU, and the weights have not been updated yet
            self._raise_if_not_finite()
        if not self._is_single_batch_step:
            # Lightning divides gradients by the number of accumulated batches, and DDP by the number of processes.
            divisor = self.trainer.accumulate_grad_batches * self.trainer.world_size
            scale = divisor / masked.clamp(min=1)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(scale)
        self._since_logged += torch.stack([loss_sum, masked])
        self._tokens += tokens
        self._step_sums = torch.zeros_like(self._step_sums)
        self._log_training_metrics()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, even if a fused optimizer is used in bf16.

        Lightning does not support clipping with fused optimizers in mixed precision, because these optimizers unscale
        the gradients themselves. Only float16 training scales gradients, so gradients in other precisions are clipped
        directly.
        """
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Run an optimizer step, then free the gradients, which Lightning would keep through the next forward pass."""
        super().optimizer_step(*args, **kwargs)
        recycle_head_gradient(self.model)
        self.trainer.optimizers[0].zero_grad()

    def _log_training_metrics(self) -> None:
        """Log the training metrics every ``log_every_n_steps`` steps."""
        interval = self.trainer.log_every_n_steps
        if interval == 0 or (self.global_step + 1) % interval:
            return
        self._raise_if_not_finite()
        # Copy all three values from the device with a single synchronization.
        loss_sum, masked, tokens = torch.cat([self._since_logged, self._tokens[None]]).tolist()
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {"train/loss": loss_sum / max(masked, 1), "train/tokens": tokens, "train/learning_rate": float(rate)}
        log_step(self.trainer, values, self.global_step)
        self.trainer.progress_bar_metrics["train/loss"] = values["train/loss"]
        self._since_logged.zero_()

    def on_validation_start(self) -> None:
        """Raise an error if any training loss was not finite."""
        self._raise_if_not_finite()

    def validation_step(self, batch: MaskedBatch, batch_idx: int) -> None:
        """Add a batch to the validation loss and perplexity."""
        sums = masked_lm_loss_sum(self.model, batch, self.forward_mode)
        self.validation_loss.update(*sums)
        self.validation_perplexity.update(*sums)

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics, aggregated across all processes."""
        self.log("validation/loss", self.validation_loss, prog_bar=True)
        self.log("validation/perplexity", self.validation_perplexity)

    def on_train_end(self) -> None:
        """Raise an error if any training loss was not finite."""
        self._raise_if_not_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the counters. Raise an error if a training loss or a weight is not finite."""
        self._raise_if_not_finite()
        if not all(bool(torch.isfinite(weights).all()) for weights in self.model.parameters()):
            raise self._build_divergence_error(self.global_step)
        checkpoint["tokens_seen"], checkpoint["since_logged"] = self.tokens_seen, self._since_logged.tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the counters."""
        self._restored_tokens, self._restored_since_logged = checkpoint["tokens_seen"], checkpoint["since_logged"]

    @property
    def tokens_seen(self) -> int:
        """Tokens processed so far across all processes, without padding."""
        return int(self._tokens) if hasattr(self, "_tokens") else self._restored_tokens

    @property
    def must_stop(self) -> bool:
        """Whether training stops after this step. Stop requests are all-reduced, so all processes agree."""
        return self.stop_requested if self.trainer.world_size == 1 else bool(self._stop_votes)

    def _raise_if_not_finite(self) -> None:
        # The step number stays on the device, because copying it to the CPU at every step would stall the GPU.
        step = int(self._first_nonfinite_step) if hasattr(self, "_first_nonfinite_step") else -1
        if step >= 0:
            raise self._build_divergence_error(step)

    def _build_divergence_error(self, step: int) -> WinnowError:
        rows = describe_nonfinite_rows(self.model, self.trainer.train_dataloader, step, self.forward_mode)
        return WinnowError(
            f"the training loss was not a finite number at step {step}, so training was stopped; {rows}. Lower the "
            "learning rate, clip the gradients (training.gradient_clip), train in float32, or inspect these rows.",
            key="optimizer.lr",
        )
