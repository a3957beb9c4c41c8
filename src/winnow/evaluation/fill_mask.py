"""The words that a model would put at the masks of a sentence, ranked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from winnow.errors import WinnowError
from winnow.evaluation.mask_predictions import answers, mask_fault
from winnow.evaluation.vocabulary_words import whole_words

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

Ranked = list[tuple[str, float]]
"""Words, the likeliest first, each with its probability."""


def fill(
    text: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    top_k: int = 10,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> list[Ranked]:
    """Return for each mask of a sentence the whole words that a model finds likeliest.

    With several masks each is filled while the others stay masked, as the library's pipeline does it.

    Args:
        text: The sentence; masks are written ``[MASK]`` or ``<mask>``, whatever the tokenizer's own.
        model: A masked language model.
        tokenizer: Its tokenizer.
        top_k: Words for each mask.
        device: Where to ask.
        forward: How the model is called.

    Returns:
        For each mask ``top_k`` words with their probability of the whole vocabulary, in [0, 1].

    Raises:
        WinnowError: The sentence has no mask, too many, or too many tokens.
    """
    if fault := mask_fault(text):
        raise WinnowError(fault, "text")
    candidates, words = whole_words(tokenizer)
    found: list[Ranked] = []
    for _, log_probabilities in answers([text], model, tokenizer, device, forward=forward):
        among = log_probabilities.cpu()[:, candidates]
        best = among.topk(min(top_k, len(words)))
        for shares, places in zip(best.values.exp().tolist(), best.indices.tolist(), strict=True):
            found.append([(words[place], share) for place, share in zip(places, shares, strict=True)])
    return found


def mean_probabilities(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> dict[str, float]:
    """Return the mean probability of every whole word over all masks of sentences, in lower case."""
    candidates, words = whole_words(tokenizer)
    total, masks = np.zeros(len(words)), 0
    for _, log_probabilities in answers(texts, model, tokenizer, device, forward=forward):
        total += log_probabilities[:, candidates].exp().double().sum(0).cpu().numpy()
        masks += len(log_probabilities)
    means: dict[str, float] = {}
    for word, share in zip(words, (total / max(1, masks)).tolist(), strict=True):
        means[word.casefold()] = means.get(word.casefold(), 0.0) + share
    return means if masks else {}
