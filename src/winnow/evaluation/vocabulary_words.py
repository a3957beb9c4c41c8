"""Find the words that a tokenizer encodes as one token, and the tokens that are whole words."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def word_token_ids(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Return the token ids of each word inside a sentence.

    The list is empty if the word contains an unknown token.
    """
    words = sorted(words)
    if not words:
        return {}
    # The leading space makes a byte-level tokenizer encode the word as it would inside a sentence.
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    return {word: [] if unknown in ids else list(ids) for word, ids in zip(words, encoded, strict=True)}


def single_token_ids(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    """Return the token id of each word inside a sentence, or ``None`` if it is unknown or has several tokens."""
    return {word: ids[0] if len(ids) == 1 else None for word, ids in word_token_ids(words, tokenizer).items()}


def list_whole_words(tokenizer: PreTrainedTokenizerFast) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the ids of all tokens that are whole words, and the words.

    A token is a whole word if the tokenizer encodes that word inside a sentence as this one token, and the word
    contains a letter or a digit. This excludes subwords, punctuation and special tokens for any kind of tokenizer.
    """
    from winnow.training import tokenizer_fingerprint

    return _find_whole_words(tokenizer_fingerprint(tokenizer), _UnhashedTokenizer(tokenizer))


class _UnhashedTokenizer:
    """A wrapper that excludes a tokenizer from the cache key; the cache uses its fingerprint instead."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _UnhashedTokenizer)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _find_whole_words(fingerprint: str, unhashed: _UnhashedTokenizer) -> tuple[npt.NDArray[np.int64], list[str]]:
    tokenizer = unhashed.tokenizer
    special = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(tokenizer.get_vocab().values()) if i not in special]
    words = [word.strip() for word in tokenizer.batch_decode([[i] for i in ids])]
    encoded = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    whole_word_pairs = [
        (i, word)
        for i, word, tokens in zip(ids, words, encoded, strict=True)
        if tokens == [i] and any(map(str.isalnum, word))
    ]
    return np.array([i for i, _ in whole_word_pairs], dtype=np.int64), [word for _, word in whole_word_pairs]
