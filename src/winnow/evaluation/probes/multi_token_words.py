"""Score multi-token words at the masks of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.evaluation.mask_predictions import MASK_PATTERN
from winnow.evaluation.probes.lexicon import WORD_ROLES
from winnow.evaluation.probes.prompts import Cloze
from winnow.evaluation.pseudo_likelihood import NO_WORD_ID, WordTokens, score_tokens
from winnow.evaluation.vocabulary_words import word_token_ids

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode


def score_multi_token_words(
    clozes: Sequence[Cloze],
    single_token_ids: dict[str, int | None],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> list[dict[str, Any]]:
    """Score listed multi-token words by their within-word pseudo-log-likelihood (Kauf and Ivanova 2023).

    A word of n tokens replaces the mask. The tokens of the word are scored from left to right, with the remaining
    tokens of the word masked. The score is the log probability of the word among all words of n tokens, so scores are
    comparable only between words with the same number of tokens, or after division by the number of tokens.

    Args:
        clozes: The prompts.
        single_token_ids: The token id of each listed word, or ``None`` if the word is not a single token.
        model: A masked language model.
        tokenizer: The model's tokenizer.
        device: The device to run on.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.

    Returns:
        Rows with ``prompt_id``, ``prompt``, ``role``, ``word``, ``tokens`` and ``log_probability`` (nats). Words with
        unknown tokens are skipped.
    """
    all_ids = word_token_ids((word for word, i in single_token_ids.items() if i is None), tokenizer)
    token_ids = {word: ids for word, ids in all_ids.items() if len(ids) > 1}
    if not token_ids:
        return []
    scores: list[dict[str, Any]] = []
    rows: list[WordTokens] = []
    for cloze in clozes:
        words_with_roles = [(role, word) for role in WORD_ROLES for word in getattr(cloze, role) if word in token_ids]
        if not words_with_roles:
            continue
        ids = tokenizer(MASK_PATTERN.sub(lambda _: tokenizer.mask_token, cloze.text))["input_ids"]
        positions = [position for position, i in enumerate(ids) if i == tokenizer.mask_token_id]
        for mask, position in enumerate(positions, 1):
            for role, word in words_with_roles:
                prompt = {"prompt_id": cloze.prompt_id(mask), "prompt": cloze.title(mask)}
                scores.append(prompt | {"role": role, "word": word, "tokens": len(token_ids[word])})
                rows.append(_insert_word(ids, position, token_ids[word]))
    row_indices, token_scores = score_tokens(rows, model, tokenizer, device, forward)
    totals = np.bincount(row_indices, weights=token_scores, minlength=len(rows)).tolist()
    for score, total in zip(scores, totals, strict=True):
        score["log_probability"] = total
    return scores


def _insert_word(ids: Sequence[int], position: int, word: Sequence[int]) -> WordTokens:
    """Return a prompt's tokens with a word in place of a mask; only the tokens of this word are scored."""
    all_ids = np.array([*ids[:position], *word, *ids[position + 1 :]], dtype=np.int64)
    word_ids = np.full(len(all_ids), NO_WORD_ID, dtype=np.int64)
    word_ids[position : position + len(word)] = 0
    return WordTokens(all_ids, word_ids)
