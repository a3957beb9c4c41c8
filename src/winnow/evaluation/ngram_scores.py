"""Score held-out rows and probe prompts with an n-gram model, under the same conditions as a masked language model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.mask_predictions import MASK_PATTERN
from winnow.evaluation.ngram_model import NgramModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows

TEXTS_PER_BATCH = 64


def score_rows_with_ngrams(model: NgramModel, rows: TokenRows, masking: Masking, seed: int = 0) -> pa.Table:
    """Score held-out rows under the same fixed masks as :func:`winnow.evaluation.score_rows`.

    Some selected tokens are not masked: they stay unchanged or are replaced by a random token. A masked language model
    learns how often this happens. To give the n-gram model the same information, the probabilities at these tokens are
    updated with Bayes' rule: P(w | shown token x) is proportional to
    ``P(w) * (unchanged_share * [w = x] + random_share / vocabulary)``.

    Args:
        model: The n-gram model.
        rows: The held-out rows.
        masking: The masking strategy.
        seed: The seed of the masks.

    Returns:
        A table in the order of ``rows`` with the columns ``row_id``, ``loss_sum`` (float64, nats) and ``masked``
        (int64, the number of selected tokens).
    """
    from winnow.training.masking import IGNORE_INDEX

    input_ids, labels = masking.apply(rows, seed)
    positions = np.flatnonzero(labels != IGNORE_INDEX)
    targets, shown = labels[positions], input_ids[positions].astype(np.int64)
    inputs = dataclasses.replace(rows, ids=input_ids)
    losses = -model.score_tokens(inputs, positions, targets)

    is_shown = shown != rows.vocabulary.mask_id
    unchanged_share = 1 - masking.mask_share - masking.random_share
    random_probability = masking.random_share / len(rows.vocabulary.regular_ids)
    shown_probabilities = np.exp(model.score_tokens(inputs, positions[is_shown], shown[is_shown]))
    likelihoods = unchanged_share * (targets == shown)[is_shown] + random_probability
    losses[is_shown] -= np.log(likelihoods / (unchanged_share * shown_probabilities + random_probability))

    row_indices = np.repeat(np.arange(len(rows)), rows.lengths)[positions]
    return pa.table(
        {
            "row_id": [f"{key:016x}" for key in rows.keys.tolist()],
            "loss_sum": np.bincount(row_indices, weights=losses, minlength=len(rows)).astype(np.float64),
            "masked": np.bincount(row_indices, minlength=len(rows)),
        }
    )


@dataclasses.dataclass(frozen=True)
class NgramPredictor:
    """Predicts the tokens at the masks of sentences with an n-gram model.

    A call returns results in the same form as :func:`winnow.evaluation.mask_predictions.predict_at_masks`.

    Attributes:
        model: The n-gram model.
        tokenizer: The tokenizer of the rows that the model was fitted on.
    """

    model: NgramModel
    tokenizer: PreTrainedTokenizerFast

    def __call__(self, texts: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
        """Yield the sentence index of each mask and the log probabilities at the masks, for each batch."""
        import torch

        from winnow.training import TokenRows
        from winnow.training.vocabulary import Vocabulary

        vocabulary = Vocabulary.from_tokenizer(self.tokenizer)
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            batch = [
                MASK_PATTERN.sub(lambda _: self.tokenizer.mask_token, text)
                for text in texts[start : start + TEXTS_PER_BATCH]
            ]
            token_ids = self.tokenizer(batch, verbose=False)["input_ids"]
            offsets = np.cumsum([0, *map(len, token_ids)])
            ids = np.concatenate(token_ids).astype(np.int32)
            rows = TokenRows(ids, offsets, np.zeros(len(batch), dtype=np.uint64), vocabulary)
            positions = np.flatnonzero(ids == vocabulary.mask_id)
            log_probabilities = self.model.predict_log_probabilities(rows, positions).astype(np.float32)
            yield start + np.searchsorted(offsets, positions, side="right") - 1, torch.from_numpy(log_probabilities)
