"""Compute pseudo-log-likelihoods of texts with a masked language model.

Each token is masked and scored given all other tokens (Salazar et al. 2020, "Masked Language Model Scoring"). The
remaining tokens of the same word are also masked, because the end of a word would reveal its beginning (Kauf and
Ivanova 2023, "A Better Way to Do Masked Language Model Scoring", ``within_word_l2r``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from winnow.evaluation.mask_predictions import MAX_LOGITS_PER_BATCH, evaluation_mode, logits_at_masks

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training.forward.masked_logits import ForwardMode

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_TOKENS_PER_BATCH = 8192
"""The maximum number of tokens per batch. A text of n tokens becomes n masked copies of n tokens each."""

NO_WORD_ID = -1
"""The word id of special tokens, which are neither masked nor scored."""


@dataclass(frozen=True)
class WordTokens:
    """The tokens of a text, and the word that contains each token.

    Attributes:
        ids: Token ids, shape ``(tokens,)``.
        word_ids: The index of the word that contains each token, or :data:`NO_WORD_ID` for tokens that are not scored;
            shape ``(tokens,)``.
    """

    ids: IntArray
    word_ids: IntArray


def pseudo_log_likelihoods(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
    within_word: bool = True,
    max_length: int | None = None,
) -> tuple[FloatArray, IntArray]:
    """Return the pseudo-log-likelihoods of texts.

    Args:
        texts: Texts without masks.
        model: A masked language model. Its mode and device are restored afterward.
        tokenizer: The model's tokenizer.
        device: The device to run on.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.
        within_word: Whether to also mask the remaining tokens of the same word. If ``False``, the scores of
            multi-token words are far too high.
        max_length: The length in tokens to which texts are truncated; the model's maximum length if ``None``.

    Returns:
        Each text's sum of log probabilities, in nats (float64), and its number of scored tokens (int64), both of shape
        ``(texts,)``.
    """
    rows = tokenize_with_word_ids(texts, tokenizer, max_length)
    if not within_word:
        rows = [
            WordTokens(row.ids, np.where(row.word_ids == NO_WORD_ID, NO_WORD_ID, np.arange(len(row.ids))))
            for row in rows
        ]
    sums = np.zeros(len(rows))
    for row_index, score in zip(*score_tokens(rows, model, tokenizer, device, forward), strict=True):
        sums[row_index] += score
    return sums, np.array([(row.word_ids != NO_WORD_ID).sum() for row in rows], dtype=np.int64)


def tokenize_with_word_ids(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerFast, max_length: int | None = None
) -> list[WordTokens]:
    """Tokenize texts and return the word id of each token."""
    if not texts:
        return []
    limit = min(
        max_length or tokenizer.model_max_length, 2**31 - 1
    )  # some tokenizers use a huge placeholder as the maximum length
    encodings = tokenizer(list(texts), truncation=True, max_length=limit)
    return [
        WordTokens(
            np.array(ids, dtype=np.int64),
            np.array([NO_WORD_ID if word is None else word for word in encodings.word_ids(i)], dtype=np.int64),
        )
        for i, ids in enumerate(encodings["input_ids"])
    ]


def score_tokens(
    rows: Sequence[WordTokens],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str,
    forward: ForwardMode,
) -> tuple[IntArray, FloatArray]:
    """Compute the log probability of every token that belongs to a word.

    Returns:
        For each scored token, the index of its row and its log probability in nats, in row and token order.
    """
    from torch.nn import functional

    from winnow.training.masked_batch import MaskedBatch
    from winnow.training.masking import IGNORE_INDEX

    row_indices = np.repeat(np.arange(len(rows)), [(row.word_ids != NO_WORD_ID).sum() for row in rows])
    scores = np.zeros(len(row_indices))
    starts = np.searchsorted(row_indices, np.arange(len(rows)))
    with evaluation_mode(model, device):
        for segments in _batch_copies(rows, len(tokenizer)):
            copies, labels, positions = [], [], []
            for i, start, end in segments:
                ids, targets = _build_masked_copies(rows[i], tokenizer.mask_token_id, IGNORE_INDEX)
                copies.append(ids[start:end])
                labels.append(targets[start:end])
                positions.append(starts[i] + np.arange(start, end))
            lengths = np.concatenate([np.full(len(block), block.shape[1]) for block in copies])
            flat_ids, flat_labels = (np.concatenate([block.ravel() for block in blocks]) for blocks in (copies, labels))
            batch = MaskedBatch.from_flat_tokens(flat_ids, flat_labels, lengths)
            losses = functional.cross_entropy(*logits_at_masks(model, batch.to(device), forward), reduction="none")
            scores[np.concatenate(positions)] = -losses.cpu().numpy().astype(np.float64)
    return row_indices, scores


def _build_masked_copies(row: WordTokens, mask_id: int, ignore_index: int) -> tuple[IntArray, IntArray]:
    """Return one masked copy of a row per scored token, and its labels, both of shape ``(scored, tokens)``."""
    scored_positions = np.flatnonzero(row.word_ids != NO_WORD_ID)
    positions = np.arange(len(row.ids))
    is_masked = (row.word_ids[None] == row.word_ids[scored_positions][:, None]) & (
        positions[None] >= scored_positions[:, None]
    )
    labels = np.full(is_masked.shape, ignore_index, dtype=np.int64)
    labels[np.arange(len(scored_positions)), scored_positions] = row.ids[scored_positions]
    return np.where(is_masked, mask_id, row.ids[None]), labels


def _batch_copies(rows: Sequence[WordTokens], vocabulary_size: int) -> Iterator[list[tuple[int, int, int]]]:
    """Batch the masked copies of all rows, with rows of similar length together.

    Yields:
        For each batch, tuples of a row index and the start (inclusive) and end (exclusive) of a range of that row's
        copies.
    """
    max_copies = max(1, MAX_LOGITS_PER_BATCH // vocabulary_size)
    batch: list[tuple[int, int, int]] = []
    copies = tokens = 0
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].ids)):
        length, num_scored = len(rows[i].ids), int((rows[i].word_ids != NO_WORD_ID).sum())
        start = 0
        while start < num_scored:
            remaining = min(max_copies - copies, (MAX_TOKENS_PER_BATCH - tokens) // length)
            if remaining <= 0 and batch:
                yield batch
                batch, copies, tokens = [], 0, 0
                continue
            end = min(num_scored, start + max(1, remaining))
            batch.append((i, start, end))
            copies, tokens = copies + end - start, tokens + (end - start) * length
            start = end
    if batch:
        yield batch
