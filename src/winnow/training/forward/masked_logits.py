"""From a batch to what the loss needs: the one place where a model is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import WinnowError
from winnow.training.batch import Batch
from winnow.training.forward.efficient import SHAPES, efficient_logits, obstacle

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Forward = Literal["auto", "efficient", "reference"]
"""``reference`` calls the model as the library does; ``efficient`` does only the arithmetic that the loss needs, to the
same numbers; ``auto`` is ``efficient`` for the models that it is known for, else ``reference``."""


def masked_lm_sums(model: PreTrainedModel, batch: Batch, forward: Forward = "auto") -> tuple[Tensor, Tensor]:
    """Return the sum of the losses over masked tokens, and how many there are.

    The loss of a token is the cross entropy in nats, from float32 logits. A batch without a masked token has the sum 0,
    which still leads back to every weight.

    Args:
        model: A masked language model.
        batch: Masked rows.
        forward: How to call the model.

    Returns:
        Two scalars: float32 with gradient, and int64.

    Raises:
        WinnowError: See :func:`masked_logits`.
    """
    logits, targets = masked_logits(model, batch, forward)
    return functional.cross_entropy(logits, targets, reduction="sum"), torch.tensor(len(targets), device=targets.device)


def masked_logits(model: PreTrainedModel, batch: Batch, forward: Forward = "auto") -> tuple[Tensor, Tensor]:
    """Return the logits at the masked tokens, and which token stood there.

    Args:
        model: A masked language model.
        batch: Masked rows.
        forward: How to call the model.

    Returns:
        float32 (float64 for a model in float64) of shape ``(masked, vocabulary)``, and int64 of shape ``(masked,)``, in
        the order of ``batch.masked``.

    Raises:
        WinnowError: The efficient forward was asked for, and does not know such a model.
    """
    if resolve(model, forward) == "efficient":
        logits = efficient_logits(model, batch)
    else:
        logits = _reference_logits(model, batch)
    return logits if logits.dtype is torch.float64 else logits.float(), batch.targets


def resolve(model: PreTrainedModel, forward: Forward) -> Literal["efficient", "reference"]:
    """Return which forward a model takes.

    Raises:
        WinnowError: The efficient forward was asked for, and does not know such a model.
    """
    if forward == "reference":
        return "reference"
    found = obstacle(model)
    if found is None:
        return "efficient"
    if forward == "auto":
        return "reference"
    raise WinnowError(
        f"The efficient forward cannot run this model: {found}. It knows {', '.join(SHAPES)} as the "
        "library makes them. Use `auto` or `reference`.",
        key="training.forward",
    )


def _reference_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    inputs, masked = batch.padded(model.config.pad_token_id or 0)
    logits: Tensor = model(**inputs).logits
    return logits.flatten(0, 1)[masked]
