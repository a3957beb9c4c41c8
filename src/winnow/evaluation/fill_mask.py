"""Rank the words that a model predicts at each mask of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from winnow.errors import WinnowError
from winnow.evaluation.mask_predictions import mask_count_error, predict_at_masks
from winnow.evaluation.vocabulary_words import list_whole_words

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

RankedWords = list[tuple[str, float]]
"""Words with their probabilities, most likely first."""


def fill_masks(
    text: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    top_k: int = 10,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> list[RankedWords]:
    """Rank the most likely whole words for each mask of a sentence.

    When a mask is predicted, all other masks stay in the sentence, as in the fill-mask pipeline of transformers.

    Args:
        text: The sentence. A mask is written ``[MASK]`` or ``<mask>``, regardless of the tokenizer's mask token.
        model: A masked language model.
        tokenizer: The model's tokenizer.
        top_k: The maximum number of words per mask.
        device: The device to run on.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.

    Returns:
        For each mask, the ``top_k`` words with their probabilities over the full vocabulary, in [0, 1].

    Raises:
        WinnowError: If the sentence has no mask, too many masks or too many tokens.
    """
    if error := mask_count_error(text):
        raise WinnowError(error, "text")
    word_ids, words = list_whole_words(tokenizer)
    rankings: list[RankedWords] = []
    for _, log_probabilities in predict_at_masks([text], model, tokenizer, device, forward=forward):
        top = log_probabilities.cpu()[:, word_ids].topk(min(top_k, len(words)))
        for probabilities, indices in zip(top.values.exp().tolist(), top.indices.tolist(), strict=True):
            ranking = [(words[i], probability) for i, probability in zip(indices, probabilities, strict=True)]
            rankings.append(ranking)
    return rankings


def mean_word_probabilities(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> dict[str, float]:
    """Return each lowercased whole word's mean probability across all masks of the given sentences.

    The probabilities of words that differ only in case are added. The result is empty if there are no masks.
    """
    word_ids, words = list_whole_words(tokenizer)
    sums, mask_count = np.zeros(len(words)), 0
    for _, log_probabilities in predict_at_masks(texts, model, tokenizer, device, forward=forward):
        sums += log_probabilities[:, word_ids].exp().double().sum(0).cpu().numpy()
        mask_count += len(log_probabilities)
    means: dict[str, float] = {}
    for word, probability in zip(words, (sums / max(1, mask_count)).tolist(), strict=True):
        means[word.casefold()] = means.get(word.casefold(), 0.0) + probability
    return means if mask_count else {}
