"""What a model says at the masks of sentences: the one place in this room where a model is asked."""

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

MASK = re.compile(r"\[MASK\]|<mask>")
"""Either spelling of a masked word; the tokenizer's own takes its place."""

MOST_MASKS = 5
"""Masks that a sentence may have. Each is guessed without knowing the others, so many say little."""

LOGITS_AT_ONCE = 2**24
"""Logits held at a time, 64 MB of them."""


def mask_fault(text: str) -> str | None:
    """Return what is wrong with the masks of a sentence, or ``None``.

    >>> mask_fault("no mask here")[:34]
    "'no mask here' has no mask. Write "
    """
    count = len(MASK.findall(text))
    if count == 0:
        return f"'{text}' has no mask. Write [MASK] or <mask> where the model is to find a word."
    if count > MOST_MASKS:
        return (
            f"'{text}' has {count} masks, and {MOST_MASKS} are the most. Each is guessed without knowing the others; "
            "split the sentence."
        )
    return None


def answers(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    batch_size: int = 64,
    forward: ForwardMode = "auto",
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Ask a model for the words behind the masks of sentences.

    Args:
        texts: Sentences with masks in either spelling.
        model: A masked language model; its mode and device are put back afterwards.
        tokenizer: Its tokenizer.
        device: Where to ask.
        batch_size: Sentences asked at a time, at most; fewer where their logits would fill too much memory.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.

    Yields:
        Which sentence each mask is in, shape ``(masks,)`` in the order of sentences and masks; and the float32 log
        probabilities over the whole vocabulary, shape ``(masks, vocabulary)``.

    Raises:
        WinnowError: A sentence is longer than the model reads.
    """
    from winnow.training import MaskedBatch
    from winnow.training.masking import IGNORE_INDEX

    if not texts:
        return
    rows = tokenizer([MASK.sub(lambda _: tokenizer.mask_token, text) for text in texts], verbose=False)["input_ids"]
    for text, row in zip(texts, rows, strict=True):
        if len(row) > tokenizer.model_max_length:
            raise WinnowError(
                f"'{text[:60]}...' has {len(row)} tokens, and the model reads {tokenizer.model_max_length}. Shorten it."
            )
    most = max(len(MASK.findall(text)) for text in texts)
    step = max(1, min(batch_size, LOGITS_AT_ONCE // (most * len(tokenizer))))
    with evaluating(model, device):
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            ids = np.concatenate(some)
            labels = np.where(ids == tokenizer.mask_token_id, ids, IGNORE_INDEX)
            batch = MaskedBatch.from_flat_tokens(ids, labels, np.array([len(row) for row in some]))
            logits, _ = logits_at_masks(model, batch.to(device), forward)
            yield start + batch.masked_rows, logits.log_softmax(-1)


def logits_at_masks(
    model: PreTrainedModel, batch: MaskedBatch, forward: ForwardMode
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what :func:`winnow.training.masked_logits` does, without the logits of all other tokens.

    The efficient forward makes none. The library's own would make them all, so what reaches its last layer, the one
    that knows the vocabulary, is cut down to the masked tokens on the way.
    """
    from winnow.training import masked_logits
    from winnow.training.forward.masked_logits import resolve_forward

    last = model.get_output_embeddings()
    if resolve_forward(model, forward) == "efficient" or last is None:
        return masked_logits(model, batch, forward)
    inputs, masked = batch.to_padded(model.config.pad_token_id or 0)

    def cut(module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (given[0].flatten(0, -2).index_select(0, masked), *given[1:])

    hook = last.register_forward_pre_hook(cut)
    try:
        logits = model(**inputs).logits
    finally:
        hook.remove()
    if logits.ndim != 2 or len(logits) != len(masked):  # an architecture that does more behind its last layer
        return masked_logits(model, batch, forward)
    return logits.float(), batch.targets


@contextmanager
def evaluating(model: PreTrainedModel, device: torch.device | str) -> Iterator[None]:
    """Keep a model in evaluation mode on a device, without gradients, and put all back as it was."""
    from winnow.training.forward.linear_backend import prepacked_weights

    training, home = model.training, model.device
    model.eval().to(device)
    try:
        with prepacked_weights():
            yield
    finally:
        model.train(training).to(home)
