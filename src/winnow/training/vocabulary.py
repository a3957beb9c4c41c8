"""What the rest of the room needs to know of a tokenizer: its ids, and a name for its content."""

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
    """Return 16 hex digits over everything that decides which ids a text becomes."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    # Every call leaves its truncation and padding in the tokenizer; they are settings of the call.
    content.pop("truncation", None)
    content.pop("padding", None)
    return fingerprint(content, sorted(tokenizer.all_special_ids), tokenizer.mask_token_id)


@dataclass(frozen=True)
class Vocabulary:
    """The ids of a tokenizer, and how many of them its model reads at once.

    Attributes:
        size: One more than the highest id.
        mask_id: The id that hides a token.
        pad_id: The id that fills a batch up.
        special: Ids that are never masked and never drawn as a replacement: padding, separators, the unknown
            token.
        longest: The longest row that the model reads, in tokens.
        fingerprint: The tokenizer's fingerprint.
    """

    size: int
    mask_id: int
    pad_id: int
    special: tuple[int, ...]
    longest: int
    fingerprint: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
        """Read the ids of a tokenizer."""
        return cls(
            size=max(tokenizer.get_vocab().values()) + 1,
            mask_id=tokenizer.mask_token_id,
            pad_id=tokenizer.pad_token_id,
            special=tuple(sorted(tokenizer.all_special_ids)),
            longest=tokenizer.model_max_length,
            fingerprint=tokenizer_fingerprint(tokenizer),
        )

    @functools.cached_property
    def is_special(self) -> npt.NDArray[np.bool_]:
        """One flag for each id, shape ``(size,)``."""
        flags = np.zeros(self.size, dtype=bool)
        flags[list(self.special)] = True
        return flags

    @functools.cached_property
    def ordinary(self) -> npt.NDArray[np.int64]:
        """All ids that are not special, in ascending order."""
        return np.flatnonzero(~self.is_special)
