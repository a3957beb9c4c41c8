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
from winnow.training.counter import key
from winnow.training.forward import Forward, masked_lm_sums
from winnow.training.metrics import MaskedLoss, Perplexity

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MaskedLanguageModule(pl.LightningModule):
    """Trains a masked language model on the token-weighted mean loss.

    The gradients of an optimizer step are those of ``sum of token losses / masked tokens`` over all of its
    batches, accumulated or on other processes; a mean of batch means would weigh tokens unequally. Logs
    ``train/loss`` (mean since it was last logged), ``train/tokens`` (tokens seen so far, padding left out),
    ``validation/loss`` and ``validation/perplexity``.

    Args:
        model: The masked language model; it is trained in place.
        optimizer: Makes the optimizer from parameter groups, as ``functools.partial(torch.optim.AdamW,
            lr=5e-4)``.
        warmup_fraction: Share of the steps in which the learning rate climbs; see :func:`linear_schedule`.
        seed: Seeds dropout. The random state of each batch is a function of seed, batch and rank alone, so a
            resumed run draws what the unbroken one would have drawn.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        warmup_fraction: float = 0.1,
        seed: int = 0,
        forward: Forward = "auto",
    ) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer
        self.warmup_fraction = warmup_fraction
        self.seed = seed
        self.forward_choice: Forward = forward
        self.validation_loss = MaskedLoss()
        self.validation_perplexity = Perplexity()
        self._tokens_before = 0

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the optimizer, and the schedule over all steps."""
        optimizer = self.optimizer(parameter_groups(self.model))
        schedule = linear_schedule(self.warmup_fraction, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Switch dropout on: the library hands models over in evaluation mode, and Lightning keeps it."""
        self.model.train()
        # Plain tensors: buffers would be overwritten by those of rank 0 at every step.
        self._window = torch.zeros(3, dtype=torch.float64, device=self.device)
        self._since_logged = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._tokens = torch.tensor(self._tokens_before, dtype=torch.float64, device=self.device)
        self._first_bad_step = torch.tensor(-1, device=self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the sum of the token losses of a batch; :meth:`on_before_optimizer_step` makes it a mean."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        torch.manual_seed(int(key(self.seed, self.global_step, part, self.global_rank)[0] >> 1))
        loss_sum, masked = masked_lm_sums(self.model, batch, self.forward_choice)
        tokens = torch.tensor(len(batch.input_ids), device=self.device)
        self._window += torch.stack([loss_sum.detach().double(), masked, tokens])
        return loss_sum

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the masked tokens of the whole step, before any clipping."""
        loss_sum, masked, tokens = self.trainer.strategy.reduce(self._window, reduce_op="sum")
        # Lightning has divided by the accumulated batches, and DDP by the processes.
        undo = self.trainer.accumulate_grad_batches * self.trainer.world_size
        scale = undo / masked.clamp(min=1)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
        bad = ~torch.isfinite(loss_sum) & (self._first_bad_step < 0)
        self._first_bad_step = torch.where(bad, self.global_step + 1, self._first_bad_step)
        self._since_logged += torch.stack([loss_sum, masked])
        self._tokens += tokens
        self._window.zero_()
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

    def _log_now_and_then(self) -> None:
        """Log at the trainer's pace only: each value logged costs as much as some small layers."""
        pace = self.trainer.log_every_n_steps
        if pace == 0 or (self.global_step + 1) % pace:
            return
        self._stop_if_not_finite()
        loss_sum, masked = self._since_logged
        self.log("train/loss", (loss_sum / masked.clamp(min=1)).float(), prog_bar=True)
        self.log("train/tokens", self._tokens.float())
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
        """Store the tokens seen; refuse to store weights that are no numbers."""
        self._stop_if_not_finite()
        checkpoint["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the tokens seen from a checkpoint."""
        self._tokens_before = checkpoint["tokens_seen"]

    @property
    def tokens_seen(self) -> int:
        """Tokens trained on so far over all processes, padding left out."""
        return int(self._tokens) if hasattr(self, "_tokens") else self._tokens_before

    def _stop_if_not_finite(self) -> None:
        # One flag on the device, looked at now and then: looking every step would stall a GPU.
        step = int(self._first_bad_step) if hasattr(self, "_first_bad_step") else -1
        if step >= 0:
            raise WinnowError(
                f"The training loss was not a finite number at step {step}, so training stopped; checkpoints "
                "from before are kept. Lower the learning rate, clip the gradients (training.gradient_clip), "
                "or train in float32.",
                key="optimizer.lr",
            )


def parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices, and the rest without weight decay.

    Biases and the scales of layer norms are no matrices; pulling them to zero does not regularise (Devlin et
    al. 2019).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def linear_schedule(warmup_fraction: float, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step from 0: a linear climb to 1, then a linear fall.

    The rate is never 0 while steps are left, so no step is wasted; without warm-up it is that of
    ``transformers``.

    >>> [round(linear_schedule(0.4, 5)(step), 2) for step in range(6)]
    [0.33, 0.67, 1.0, 0.67, 0.33, 0.0]
    """
    warmup = round(warmup_fraction * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(steps - step, 0) / max(steps - warmup, 1)

    return factor
