"""Compute the logits and the loss of the masked tokens of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import WinnowError
from winnow.training.forward.architectures import find_architectures
from winnow.training.forward.efficient_forward import compute_efficient_logits, unsupported_reason
from winnow.training.masked_batch import MaskedBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ForwardMode = Literal["auto", "efficient", "reference"]
"""``reference`` calls the model with padded inputs, as is usual with transformers. ``efficient`` skips computation that
the loss does not need, and returns the same logits. ``auto`` selects ``efficient`` for supported models and
``reference`` for all other models."""


def masked_lm_loss_sum(
    model: PreTrainedModel, batch: MaskedBatch, forward: ForwardMode = "auto"
) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses of all masked tokens, and the number of masked tokens.

    The loss of a token is its cross-entropy in nats, computed from float32 logits. The sum is 0 if there are no masked
    tokens; its backward pass still reaches every parameter.

    Args:
        model: A masked language model.
        batch: The masked rows.
        forward: The implementation of the forward pass.

    Returns:
        Two scalars: the sum (float32, with gradient) and the number of masked tokens (int64).

    Raises:
        WinnowError: If ``forward`` is ``efficient``, but the model is not supported.
    """
    logits, targets = masked_logits(model, batch, forward)
    return functional.cross_entropy(logits, targets, reduction="sum"), torch.tensor(len(targets), device=targets.device)


def masked_logits(model: PreTrainedModel, batch: MaskedBatch, forward: ForwardMode = "auto") -> tuple[Tensor, Tensor]:
    """Return the logits and the original tokens at all masked positions.

    Args:
        model: A masked language model.
        batch: The masked rows.
        forward: The implementation of the forward pass.

    Returns:
        The logits, float32 (float64 for a float64 model) of shape ``(masked, vocabulary)``; and the original tokens,
        int64 of shape ``(masked,)``. Both are in the order of ``batch.masked_indices``.

    Raises:
        WinnowError: If ``forward`` is ``efficient``, but the model is not supported.
    """
    if resolve_forward(model, forward) == "efficient":
        logits = compute_efficient_logits(model, batch)
    else:
        logits = _compute_reference_logits(model, batch)
    return logits if logits.dtype is torch.float64 else logits.float(), batch.targets


def resolve_forward(model: PreTrainedModel, forward: ForwardMode) -> Literal["efficient", "reference"]:
    """Return the forward pass to use for a model.

    Raises:
        WinnowError: If ``forward`` is ``efficient``, but the model is not supported.
    """
    if forward == "reference":
        return "reference"
    reason = unsupported_reason(model)
    if reason is None:
        return "efficient"
    if forward == "auto":
        return "reference"
    raise WinnowError(
        f"the efficient forward pass does not support this model: {reason}. It supports unmodified models of the "
        f"classes {', '.join(find_architectures())}. Use auto or reference instead.",
        key="training.forward",
    )


def _compute_reference_logits(model: PreTrainedModel, batch: MaskedBatch) -> Tensor:
    inputs, masked_indices = batch.to_padded(model.config.pad_token_id or 0)
    logits: Tensor = model(**inputs).logits
    return logits.flatten(0, 1)[masked_indices]
