"""Words that a tokenizer writes as several tokens, at the mask of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.evaluation.mask_predictions import MASK
from winnow.evaluation.probes.lexicon import ROLES
from winnow.evaluation.probes.prompts import Cloze
from winnow.evaluation.pseudo_likelihood import NO_WORD, Worded, token_scores
from winnow.evaluation.vocabulary_words import spelt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode


def score_phrases(
    clozes: Sequence[Cloze],
    ids_of: dict[str, int | None],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> list[dict[str, Any]]:
    """Score listed words of several tokens by their within-word pseudo-log-likelihood (Kauf and Ivanova 2023).

    A word of n tokens takes the place of the mask; its tokens are scored from left to right, the later ones masked.
    That is its probability among all words of n tokens, so it is to be compared with words as long only.

    Args:
        clozes: The prompts.
        ids_of: The id of each listed word that is a single token, else ``None``.
        model: A masked language model.
        tokenizer: Its tokenizer.
        device: Where to score.
        forward: How the model is called.

    Returns:
        Rows with ``prompt_id``, ``prompt``, ``role``, ``word``, ``tokens`` and ``log_probability`` in nats. Words with
        a part that the tokenizer does not know are left out.
    """
    pieces = {
        word: ids for word, ids in spelt((w for w, i in ids_of.items() if i is None), tokenizer).items() if len(ids) > 1
    }
    if not pieces:
        return []
    found: list[dict[str, Any]] = []
    rows: list[Worded] = []
    for cloze in clozes:
        listed = [(role, word) for role in ROLES for word in getattr(cloze, role) if word in pieces]
        if not listed:
            continue
        ids = tokenizer(MASK.sub(lambda _: tokenizer.mask_token, cloze.text))["input_ids"]
        places = [place for place, i in enumerate(ids) if i == tokenizer.mask_token_id]
        for mask, place in enumerate(places, 1):
            for role, word in listed:
                name = {"prompt_id": cloze.prompt_id(mask), "prompt": cloze.title(mask)}
                found.append(name | {"role": role, "word": word, "tokens": len(pieces[word])})
                rows.append(_placed(ids, place, pieces[word]))
    owners, scores = token_scores(rows, model, tokenizer, device, forward)
    for row, total in zip(found, np.bincount(owners, weights=scores, minlength=len(rows)).tolist(), strict=True):
        row["log_probability"] = total
    return found


def _placed(ids: Sequence[int], place: int, pieces: Sequence[int]) -> Worded:
    """Return a row with the pieces in the place of its mask, and only they to be scored."""
    whole = np.array([*ids[:place], *pieces, *ids[place + 1 :]], dtype=np.int64)
    words = np.full(len(whole), NO_WORD, dtype=np.int64)
    words[place : place + len(pieces)] = 0
    return Worded(whole, words)
