"""From a batch to what the loss needs: the one place where a model is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from winnow.training.batching import Batch
from winnow.training.masking import IGNORED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def masked_lm_sums(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the sum of the losses over masked tokens, and how many there are.

    The loss of a token is the cross entropy in nats, from float32 logits. A batch without a masked token has
    the sum 0, which still leads back to every weight.

    Args:
        model: A masked language model.
        batch: Padded rows; see :data:`winnow.training.batching.Batch`.

    Returns:
        Two scalars: float32 with gradient, and int64.
    """
    logits, targets = masked_logits(model, batch)
    return functional.cross_entropy(logits, targets, reduction="sum"), torch.tensor(len(targets), device=targets.device)


def masked_logits(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the logits at the masked tokens, and which token stood there.

    Where the model's shape is known the vocabulary head sees the masked tokens only; the numbers are the
    library's.

    Args:
        model: A masked language model.
        batch: Padded rows.

    Returns:
        float32 of shape ``(masked, vocabulary)`` and int64 of shape ``(masked,)``, in the order of rows and
        positions.
    """
    at = batch["labels"] != IGNORED
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
    head = _HEADS.get(model.config.model_type)
    if head is None:
        logits = model(**inputs).logits[at]
    else:
        logits = head(model, model.base_model(**inputs).last_hidden_state[at])
    return logits.float(), batch["labels"][at]


def _distilbert_head(model: PreTrainedModel, states: Tensor) -> Tensor:
    states = model.activation(model.vocab_transform(states))
    logits: Tensor = model.vocab_projector(model.vocab_layer_norm(states))
    return logits


def _bert_head(model: PreTrainedModel, states: Tensor) -> Tensor:
    logits: Tensor = model.cls(states)
    return logits


def _roberta_head(model: PreTrainedModel, states: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(states)
    return logits


_HEADS: dict[str, Callable[[PreTrainedModel, Tensor], Tensor]] = {
    "distilbert": _distilbert_head,
    "bert": _bert_head,
    "roberta": _roberta_head,
}
