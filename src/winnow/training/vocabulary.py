"""Describe a tokenizer's vocabulary, and compute the tokenizer's fingerprint."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from winnow.data.fingerprint import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a hash of everything that determines the token ids of a text, as 16 hex digits."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    # Truncation and padding are call arguments, but the tokenizer stores the values from the latest call.
    content.pop("truncation", None)
    content.pop("padding", None)
    return fingerprint(content, sorted(tokenizer.all_special_ids), tokenizer.mask_token_id)


@dataclass(frozen=True)
class Vocabulary:
    """The token ids of a tokenizer, and the maximum input length of its model.

    Attributes:
        size: The highest token id plus one.
        mask_id: The id of the mask token.
        pad_id: The id of the padding token.
        special_ids: The ids of special tokens such as padding, separators and the unknown token, which are neither
            masked nor drawn as random replacements.
        max_length: The model's maximum input length, in tokens.
        fingerprint: The tokenizer's fingerprint.
    """

    size: int
    mask_id: int
    pad_id: int
    special_ids: tuple[int, ...]
    max_length: int
    fingerprint: str

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
        """Build the vocabulary of a tokenizer."""
        return cls(
            size=max(tokenizer.get_vocab().values()) + 1,
            mask_id=tokenizer.mask_token_id,
            pad_id=tokenizer.pad_token_id,
            special_ids=tuple(sorted(tokenizer.all_special_ids)),
            max_length=tokenizer.model_max_length,
            fingerprint=tokenizer_fingerprint(tokenizer),
        )

    @functools.cached_property
    def is_special(self) -> npt.NDArray[np.bool_]:
        """Whether each id belongs to a special token, shape ``(size,)``."""
        flags = np.zeros(self.size, dtype=bool)
        flags[list(self.special_ids)] = True
        return flags

    @functools.cached_property
    def regular_ids(self) -> npt.NDArray[np.int64]:
        """The ids of all tokens except special tokens, in ascending order."""
        return np.flatnonzero(~self.is_special)
