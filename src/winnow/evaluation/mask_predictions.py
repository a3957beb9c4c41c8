"""Predict the masked tokens of sentences. All inference in this package uses this module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from winnow.errors import WinnowError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training import MaskedBatch
    from winnow.training.forward.masked_logits import ForwardMode

MASK_PATTERN = re.compile(r"\[MASK\]|<mask>")
"""Regular expression that matches a mask in a sentence. Each match is replaced with the tokenizer's mask token."""

MAX_MASKS_PER_SENTENCE = 5
"""The maximum number of masks per sentence.

Each mask is predicted independently of all other masks, so predictions for sentences with many masks are not
informative.
"""

MAX_LOGITS_PER_BATCH = 2**24
"""The maximum number of logits per batch (64 MB in float32)."""


def mask_count_error(text: str) -> str | None:
    """Return an error message if the number of masks in a sentence is invalid, or ``None`` if it is valid.

    >>> mask_count_error("no mask here")[:33]
    "'no mask here' has no mask. Write"
    """
    count = len(MASK_PATTERN.findall(text))
    if count == 0:
        return f"'{text[:100]}' has no mask. Write [MASK] or <mask> in place of the word to predict."
    if count > MAX_MASKS_PER_SENTENCE:
        return (
            f"'{text[:100]}' has {count} masks; the maximum is {MAX_MASKS_PER_SENTENCE}, since each mask is predicted "
            "independently. Use fewer masks, or split the sentence."
        )
    return None


def predict_at_masks(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    forward: ForwardMode = "auto",
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Predict the tokens at the masks of each sentence.

    Args:
        texts: Sentences with masks, written ``[MASK]`` or ``<mask>``.
        model: A masked language model. Its mode and device are restored afterward.
        tokenizer: The model's tokenizer.
        device: The device to run on.
        batch_size: The maximum number of sentences per batch. Batches are smaller if their logits would need too much
            memory.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.

    Yields:
        For each batch, the index of the sentence that contains each mask, shape ``(masks,)``, and the float32 log
        probabilities over the full vocabulary, shape ``(masks, vocabulary)``. Masks are in the order of the sentences.

    Raises:
        WinnowError: If a sentence is longer than the model's maximum length.
    """
    for sentences, logits in compute_mask_logits(texts, model, tokenizer, device, batch_size, forward):
        yield sentences, logits.log_softmax(-1)


def compute_mask_logits(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    forward: ForwardMode = "auto",
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Yield the same batches as :func:`predict_at_masks`, but with float32 logits instead of log probabilities."""
    from winnow.training import MaskedBatch
    from winnow.training.masking import IGNORE_INDEX

    if not texts:
        return
    rows = tokenizer([MASK_PATTERN.sub(lambda _: tokenizer.mask_token, text) for text in texts], verbose=False)[
        "input_ids"
    ]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > tokenizer.model_max_length:
            raise WinnowError(
                f"'{text[:60]}...' has {len(row)} tokens; the maximum is {tokenizer.model_max_length}. "
                "Shorten the sentence."
            )
    max_masks = max(len(MASK_PATTERN.findall(text)) for text in texts)
    texts_per_batch = max(1, min(batch_size, MAX_LOGITS_PER_BATCH // (max_masks * len(tokenizer))))
    with evaluation_mode(model, device):
        for start in range(0, len(rows), texts_per_batch):
            batch_rows = rows[start : start + texts_per_batch]
            ids = np.concatenate(batch_rows)
            labels = np.where(ids == tokenizer.mask_token_id, ids, IGNORE_INDEX)
            batch = MaskedBatch.from_flat_tokens(ids, labels, np.array([len(row) for row in batch_rows]))
            logits, _ = logits_at_masks(model, batch.to(device), forward)
            yield start + batch.masked_rows, logits


def logits_at_masks(
    model: PreTrainedModel, batch: MaskedBatch, forward: ForwardMode
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same result as :func:`winnow.training.masked_logits`, but compute logits only at masked tokens.

    The efficient forward implementation already skips unmasked tokens. The forward pass of transformers computes logits
    at all tokens, so a hook selects the masked tokens before the output embeddings are applied.
    """
    from winnow.training import masked_logits
    from winnow.training.forward.masked_logits import resolve_forward

    output_embeddings = model.get_output_embeddings()
    if resolve_forward(model, forward) == "efficient" or output_embeddings is None:
        return masked_logits(model, batch, forward)
    inputs, masked_indices = batch.to_padded(model.config.pad_token_id or 0)

    def select_masked(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].flatten(0, -2).index_select(0, masked_indices), *inputs[1:])

    hook = output_embeddings.register_forward_pre_hook(select_masked)
    try:
        logits = model(**inputs).logits
    finally:
        hook.remove()
    if logits.ndim != 2 or len(logits) != len(masked_indices):  # the model has layers after its output embeddings
        return masked_logits(model, batch, forward)
    return logits.float(), batch.targets


@contextmanager
def evaluation_mode(model: PreTrainedModel, device: torch.device | str) -> Iterator[None]:
    """Put a model in evaluation mode on a device inside a ``with`` block, then restore its mode and device."""
    from winnow.training.forward.linear_backend import prepacked_weights

    was_training, original_device = model.training, model.device
    model.eval().to(device)
    try:
        with prepacked_weights():
            yield
    finally:
        model.train(was_training).to(original_device)
