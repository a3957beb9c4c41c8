"""The training step: the right loss over batches, accumulation and processes."""

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
from winnow.training.batch import Batch
from winnow.training.counter_rng import key
from winnow.training.divergence import bad_rows
from winnow.training.forward.masked_logits import Forward, masked_lm_sums
from winnow.training.forward.vocab_head import reuse_gradient
from winnow.training.loss_metrics import MaskedLoss, Perplexity
from winnow.training.optimization import Scheduler, parameter_groups, schedule
from winnow.training.step_logging import log_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MaskedLanguageModule(pl.LightningModule):
    """Trains a masked language model on the token-weighted mean loss.

    The gradients of an optimizer step are those of ``sum of token losses / masked tokens`` over all of its
    batches, accumulated or on other processes; a mean of batch means would weigh tokens unequally. Logs
    ``train/loss`` (mean since it was last logged), ``train/tokens`` (tokens seen so far, padding left out),
    ``train/learning_rate`` (of the step just taken), ``validation/loss`` and ``validation/perplexity``.

    Args:
        model: The masked language model; it is trained in place.
        optimizer: Makes the optimizer from parameter groups, as ``functools.partial(torch.optim.AdamW,
            lr=5e-4)``.
        warmup_fraction: Share of the steps in which the learning rate climbs; see
            :func:`winnow.training.optimization.schedule`.
        seed: Seeds dropout. The random state of each batch is a function of seed, batch and rank alone, so a
            resumed run draws what the unbroken one would have drawn.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.
        scheduler: How the learning rate goes on after its climb.

    Attributes:
        stop_requested: Set it, and :attr:`must_stop` becomes true on all processes after the same step.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        warmup_fraction: float = 0.1,
        seed: int = 0,
        forward: Forward = "auto",
        scheduler: Scheduler = "linear",
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.warmup_fraction = warmup_fraction
        self.seed = seed
        self.forward_choice: Forward = forward
        self.scheduler: Scheduler = scheduler
        self.stop_requested = False
        self.validation_loss = MaskedLoss()
        self.validation_perplexity = Perplexity()
        self._tokens_before, self._since_logged_before = 0, [0.0, 0.0]

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimizer, and the schedule over all steps."""
        optimizer = self.optimizer(parameter_groups(self.model))
        factor = schedule(self.scheduler, self.warmup_fraction, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Switch dropout on: the library hands models over in evaluation mode, and Lightning keeps it."""
        self.model.train()
        # Plain tensors: buffers would be overwritten by those of rank 0 at every step.
        self._window = torch.zeros(4, dtype=torch.float64, device=self.device)
        self._since_logged = torch.tensor(self._since_logged_before, dtype=torch.float64, device=self.device)
        self._stop_agreed = torch.zeros((), dtype=torch.float64, device=self.device)
        self._tokens = torch.tensor(self._tokens_before, dtype=torch.float64, device=self.device)
        self._first_bad_step = torch.tensor(-1, device=self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean of the token losses, or their sum where :meth:`on_before_optimizer_step` makes it a mean."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        self._seed_dropout(int(key(self.seed, self.global_step, part, self.global_rank)[0] >> 1))
        loss_sum, masked = masked_lm_sums(self.model, batch, self.forward_choice)
        tokens, stop = torch.tensor([batch.tokens, self.stop_requested], device=self.device)
        self._window += torch.stack([loss_sum.detach().double(), masked, tokens, stop])
        return loss_sum / masked.clamp(min=1) if self._is_whole_step else loss_sum

    @property
    def _is_whole_step(self) -> bool:
        """Whether a batch is all of its step, so that its loss can be divided rather than every gradient."""
        return bool(self.trainer.accumulate_grad_batches == 1 and self.trainer.world_size == 1)

    def _seed_dropout(self, seed: int) -> None:
        # Not torch.manual_seed: where there is no GPU it keeps the call and a stack trace for each kind of device that
        # might be started later, which costs milliseconds and grows with every step.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the masked tokens of the whole step, before any clipping."""
        loss_sum, masked, tokens, self._stop_agreed = self.trainer.strategy.reduce(self._window, reduce_op="sum")
        bad = ~torch.isfinite(loss_sum) & (self._first_bad_step < 0)
        self._first_bad_step = torch.where(bad, self.global_step + 1, self._first_bad_step)
        if self.device.type == "cpu":  # costs nothing here, and the weights are still good
            self._stop_if_not_finite()
        if not self._is_whole_step:
            # Lightning has divided by the accumulated batches, and DDP by the processes.
            undo = self.trainer.accumulate_grad_batches * self.trainer.world_size
            scale = undo / masked.clamp(min=1)
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(scale)
        self._since_logged += torch.stack([loss_sum, masked])
        self._tokens += tokens
        self._window = torch.zeros_like(self._window)
        self._log_now_and_then()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients, under bf16 also for a fused optimizer.

        Lightning refuses that in any mixed precision, since a fused optimizer unscales its gradients itself; but only
        float16 has them scaled.
        """
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the gradients go after the step; Lightning would hold them through the next forward, at its peak."""
        super().optimizer_step(*args, **kwargs)
        reuse_gradient(self.model)
        self.trainer.optimizers[0].zero_grad()

    def _log_now_and_then(self) -> None:
        """Log at the trainer's pace."""
        pace = self.trainer.log_every_n_steps
        if pace == 0 or (self.global_step + 1) % pace:
            return
        self._stop_if_not_finite()
        loss_sum, masked, tokens = torch.cat([self._since_logged, self._tokens[None]]).tolist()  # one wait for a GPU
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        values = {"train/loss": loss_sum / max(masked, 1), "train/tokens": tokens, "train/learning_rate": float(rate)}
        log_step(self.trainer, values, self.global_step)
        self.trainer.progress_bar_metrics["train/loss"] = values["train/loss"]
        self._since_logged.zero_()

    def on_validation_start(self) -> None:
        """Stop here if the loss is no number any more."""
        self._stop_if_not_finite()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add one batch to the exact loss and perplexity of all processes."""
        sums = masked_lm_sums(self.model, batch, self.forward_choice)
        self.validation_loss.update(*sums)
        self.validation_perplexity.update(*sums)

    def on_validation_epoch_end(self) -> None:
        """Log the scores; the metrics themselves sum over the processes."""
        self.log("validation/loss", self.validation_loss, prog_bar=True)
        self.log("validation/perplexity", self.validation_perplexity)

    def on_train_end(self) -> None:
        """Stop with an error if the last steps went wrong."""
        self._stop_if_not_finite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what was counted; refuse to store weights that are no numbers."""
        self._stop_if_not_finite()
        if not all(bool(torch.isfinite(weights).all()) for weights in self.model.parameters()):
            raise self._diverged(self.global_step)
        checkpoint["tokens_seen"], checkpoint["since_logged"] = self.tokens_seen, self._since_logged.tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what was counted from a checkpoint."""
        self._tokens_before, self._since_logged_before = checkpoint["tokens_seen"], checkpoint["since_logged"]

    @property
    def tokens_seen(self) -> int:
        """Tokens trained on so far over all processes, padding left out."""
        return int(self._tokens) if hasattr(self, "_tokens") else self._tokens_before

    @property
    def must_stop(self) -> bool:
        """Whether the training is to end now; the same on all processes, since they were told in the step's sums."""
        return self.stop_requested if self.trainer.world_size == 1 else bool(self._stop_agreed)

    def _stop_if_not_finite(self) -> None:
        # One flag on the device, looked at now and then: looking every step would stall a GPU.
        step = int(self._first_bad_step) if hasattr(self, "_first_bad_step") else -1
        if step >= 0:
            raise self._diverged(step)

    def _diverged(self, step: int) -> WinnowError:
        where = bad_rows(self.model, self.trainer.train_dataloader, step, self.forward_choice)
        return WinnowError(
            f"The training loss was not a finite number at step {step}, so training stopped; {where}. Lower the "
            "learning rate, clip the gradients (training.gradient_clip), train in float32, or look at those rows.",
            key="optimizer.lr",
        )
