"""Pseudo-log-likelihood: how likely a masked language model finds a whole text, one token after the other.

Each token is masked and scored given all others (Salazar et al. 2020, "Masked Language Model Scoring"). The tokens that
follow it within its own word are masked too, since a word's ending would give its beginning away (Kauf and Ivanova
2023, "A Better Way to Do Masked Language Model Scoring", `within_word_l2r`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from winnow.evaluation.mask_predictions import LOGITS_AT_ONCE, evaluating, logits_at_masks

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TOKENS_AT_ONCE = 8192
"""Tokens in a batch; a text of n tokens becomes n copies of n tokens."""

NO_WORD = -1
"""The word that special tokens belong to; they are neither masked nor scored."""


@dataclass(frozen=True)
class Worded:
    """A row of tokens and the word that each belongs to, shape ``(tokens,)`` both; :data:`NO_WORD` is not scored."""

    ids: Ints
    words: Ints


def pseudo_log_likelihoods(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
    within_word: bool = True,
    max_length: int | None = None,
) -> tuple[Floats, Ints]:
    """Return the pseudo-log-likelihood of texts.

    Args:
        texts: Whole texts, without masks.
        model: A masked language model; its mode and device are put back afterwards.
        tokenizer: Its tokenizer.
        device: Where to score.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.
        within_word: Mask the rest of a token's word too; without it a word of many tokens seems far too likely.
        max_length: Tokens after which a text is cut off; ``None`` is the most that the model reads.

    Returns:
        The sums of log probabilities in nats, float64, and the number of tokens scored, each of shape ``(texts,)``.
    """
    rows = worded(texts, tokenizer, max_length)
    if not within_word:
        rows = [Worded(row.ids, np.where(row.words == NO_WORD, NO_WORD, np.arange(len(row.ids)))) for row in rows]
    sums = np.zeros(len(rows))
    for owner, value in zip(*token_scores(rows, model, tokenizer, device, forward), strict=True):
        sums[owner] += value
    return sums, np.array([(row.words != NO_WORD).sum() for row in rows], dtype=np.int64)


def worded(texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int | None = None) -> list[Worded]:
    """Tokenise texts, and number the word of each token."""
    if not texts:
        return []
    longest = min(max_length or tokenizer.model_max_length, 2**31 - 1)  # some tokenizers know no bound
    encoded = tokenizer(list(texts), truncation=True, max_length=longest)
    return [
        Worded(
            np.array(ids, dtype=np.int64),
            np.array([NO_WORD if word is None else word for word in encoded.word_ids(i)], dtype=np.int64),
        )
        for i, ids in enumerate(encoded["input_ids"])
    ]


def token_scores(
    rows: Sequence[Worded],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
) -> tuple[Ints, Floats]:
    """Return for each token that belongs to a word which row it is in, and its log probability in nats.

    They come in the order of rows and tokens.
    """
    from torch.nn import functional

    from winnow.training.masked_batch import MaskedBatch
    from winnow.training.masking import IGNORE_INDEX

    owners = np.repeat(np.arange(len(rows)), [(row.words != NO_WORD).sum() for row in rows])
    scores = np.zeros(len(owners))
    starts = np.searchsorted(owners, np.arange(len(rows)))
    with evaluating(model, device):
        for chosen in _batches(rows, len(tokenizer)):
            copies, labels, places = [], [], []
            for i, first, last in chosen:
                ids, targets = _masked_copies(rows[i], tokenizer.mask_token_id, IGNORE_INDEX)
                copies.append(ids[first:last])
                labels.append(targets[first:last])
                places.append(starts[i] + np.arange(first, last))
            lengths = np.concatenate([np.full(len(part), part.shape[1]) for part in copies])
            flat, wanted = (np.concatenate([part.ravel() for part in parts]) for parts in (copies, labels))
            batch = MaskedBatch.from_flat_tokens(flat, wanted, lengths)
            losses = functional.cross_entropy(*logits_at_masks(model, batch.to(device), forward), reduction="none")
            scores[np.concatenate(places)] = -losses.cpu().numpy().astype(np.float64)
    return owners, scores


def _masked_copies(row: Worded, mask_id: int, ignored: int) -> tuple[Ints, Ints]:
    """Return a copy of a row for each token to be scored, and the labels of each, shape ``(scored, tokens)`` both."""
    at = np.flatnonzero(row.words != NO_WORD)
    places = np.arange(len(row.ids))
    hidden = (row.words[None] == row.words[at][:, None]) & (places[None] >= at[:, None])
    labels = np.full(hidden.shape, ignored, dtype=np.int64)
    labels[np.arange(len(at)), at] = row.ids[at]
    return np.where(hidden, mask_id, row.ids[None]), labels


def _batches(rows: Sequence[Worded], vocabulary: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield batches of copies, rows of like length together: which row, and which of its copies (first and last)."""
    most = max(1, LOGITS_AT_ONCE // vocabulary)
    batch: list[tuple[int, int, int]] = []
    copies = tokens = 0
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].ids)):
        length, scored = len(rows[i].ids), int((rows[i].words != NO_WORD).sum())
        first = 0
        while first < scored:
            room = min(most - copies, (TOKENS_AT_ONCE - tokens) // length)
            if room <= 0 and batch:
                yield batch
                batch, copies, tokens = [], 0, 0
                continue
            last = min(scored, first + max(1, room))
            batch.append((i, first, last))
            copies, tokens = copies + last - first, tokens + (last - first) * length
            first = last
    if batch:
        yield batch
