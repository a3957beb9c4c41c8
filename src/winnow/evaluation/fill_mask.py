"""Rank the words that a model predicts at each mask of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from winnow.errors import WinnowError
from winnow.evaluation.mask_predictions import MASK_PATTERN, compute_mask_logits, mask_count_error, predict_at_masks
from winnow.evaluation.vocabulary_words import list_whole_words

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

RankedWords = list[tuple[str, float]]
"""Words with their probabilities, most likely first."""

RankedTokens = Literal["words", "all"]
"""The tokens to rank: whole words, or all tokens of the vocabulary."""


@dataclass(frozen=True)
class Candidate:
    """A token that a model predicts for a mask, with the same values as in the fill-mask pipeline of transformers.

    Attributes:
        word: The text of the token.
        token: The id of the token.
        probability: The probability of the token over the full vocabulary, in [0, 1].
        sequence: The sentence with the token in place of the mask.
    """

    word: str
    token: int
    probability: float
    sequence: str


@dataclass(frozen=True)
class MaskPrediction:
    """The prediction for one mask.

    Attributes:
        candidates: The most likely tokens, most likely first.
        logits: The logits of all tokens, in the order of their ids. Shape ``(vocabulary,)``.
    """

    candidates: list[Candidate]
    logits: torch.Tensor


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
    predictions = predict_masks(text, model, tokenizer, top_k, "words", device, forward)
    return [[(fill.word, fill.probability) for fill in prediction.candidates] for prediction in predictions]


def predict_masks(
    text: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    top_k: int = 10,
    ranked: RankedTokens = "words",
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> list[MaskPrediction]:
    """Predict each mask of a sentence, and return the most likely tokens and the logits.

    If ``ranked`` is ``all``, the ranking includes word pieces, punctuation and special tokens, as in the fill-mask
    pipeline of transformers. All other arguments and the errors are the same as for :func:`fill_masks`.
    """
    if error := mask_count_error(text):
        raise WinnowError(error, "text")
    token_ids = list_whole_words(tokenizer)[0] if ranked == "words" else np.arange(len(tokenizer))
    (logits,) = [batch.cpu() for _, batch in compute_mask_logits([text], model, tokenizer, device, forward=forward)]
    top = logits.log_softmax(-1)[:, token_ids].topk(min(top_k, len(token_ids)))
    row = tokenizer(MASK_PATTERN.sub(lambda _: tokenizer.mask_token, text), verbose=False)["input_ids"]
    positions = [position for position, token in enumerate(row) if token == tokenizer.mask_token_id]
    predictions = []
    for mask, position in enumerate(positions):
        probabilities, tokens = top.values[mask].exp().tolist(), token_ids[top.indices[mask].numpy()].tolist()
        candidates = []
        for token, probability in zip(tokens, probabilities, strict=True):
            word = tokenizer.decode([token])
            filled_row = [*row[:position], token, *row[position + 1 :]]
            sequence = tokenizer.decode(
                [token for token in filled_row if token != tokenizer.pad_token_id],
                skip_special_tokens=len(positions) == 1,
            )
            candidates.append(Candidate(word.strip() if ranked == "words" else word, token, probability, sequence))
        predictions.append(MaskPrediction(candidates, logits[mask]))
    return predictions


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
