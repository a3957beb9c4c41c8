"""Which words a tokenizer can say as one token, and which of its tokens are words."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def spelt(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Return the ids of each word as it stands within a sentence; none where a part of it is unknown."""
    words = sorted(words)
    if not words:
        return {}
    # The blank makes a byte-level tokenizer write the word as it stands inside a sentence.
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return {word: [] if unknown in ids else list(ids) for word, ids in zip(words, encoded, strict=True)}


def single_tokens(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    """Return the id of each word within a sentence, or ``None`` where it is several tokens or unknown."""
    return {word: ids[0] if len(ids) == 1 else None for word, ids in spelt(words, tokenizer).items()}


def whole_words(tokenizer: PreTrainedTokenizerFast) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the ids that stand for a whole word, and the words.

    An id stands for a whole word if the tokenizer writes that word inside a sentence as this one token, and
    the word has a letter or a digit. That leaves out pieces, punctuation and special tokens of any kind of
    tokenizer.
    """
    from winnow.training import tokenizer_fingerprint

    return _whole_words(tokenizer_fingerprint(tokenizer), _Unhashed(tokenizer))


class _Unhashed:
    """Hands a tokenizer past the cache; its fingerprint beside it is what is looked up."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _whole_words(fingerprint: str, given: _Unhashed) -> tuple[npt.NDArray[np.int64], list[str]]:
    tokenizer = given.tokenizer
    special = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(tokenizer.get_vocab().values()) if i not in special]
    words = [word.strip() for word in tokenizer.batch_decode([[i] for i in ids])]
    written = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    whole = [
        (i, word)
        for i, word, tokens in zip(ids, words, written, strict=True)
        if tokens == [i] and any(map(str.isalnum, word))
    ]
    return np.array([i for i, _ in whole], dtype=np.int64), [word for _, word in whole]
