"""Find the words that a tokenizer encodes as a single token, and the tokens that are whole words."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from winnow.data.cleaning import CleaningStep, clean_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def word_token_ids(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    """Return each word's token ids inside a sentence. The list is empty if the word has an unknown token.

    A vocabulary that was trained on a corpus without punctuation has no hyphen. If a word has unknown tokens, its
    punctuation is therefore removed in the same way as by the cleaning step ``strip_punctuation``: ``good-looking``
    becomes ``good looking``.
    """
    words = sorted(words)
    if not words:
        return {}
    token_ids = _encode_words(words, tokenizer)
    unknown_words = [word for word, ids in token_ids.items() if not ids]
    stripped_words = clean_texts(unknown_words, [CleaningStep.STRIP_PUNCTUATION])
    spellings = {word: text for word, text in zip(unknown_words, stripped_words, strict=True) if text}
    stripped_ids = _encode_words(list(spellings.values()), tokenizer) if spellings else {}
    return token_ids | {word: stripped_ids[text] for word, text in spellings.items()}


def _encode_words(words: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, list[int]]:
    # The leading space makes a byte-level tokenizer encode the word as it would inside a sentence.
    encodings = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    unknown_id = tokenizer.unk_token_id
    return {word: [] if unknown_id in ids else list(ids) for word, ids in zip(words, encodings, strict=True)}


def single_token_ids(words: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    """Return each word's token id inside a sentence, or ``None`` if the word is unknown or has several tokens."""
    return {word: ids[0] if len(ids) == 1 else None for word, ids in word_token_ids(words, tokenizer).items()}


def list_whole_words(tokenizer: PreTrainedTokenizerFast) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return the ids of all tokens that are whole words, and the corresponding words.

    A token is a whole word if it decodes to a word with a letter or a digit, and the tokenizer encodes that word inside
    a sentence as this single token. For any kind of tokenizer, this definition excludes subwords, punctuation and
    special tokens.
    """
    from winnow.training import tokenizer_fingerprint

    return _find_whole_words(tokenizer_fingerprint(tokenizer), _UnhashedTokenizer(tokenizer))


class _UnhashedTokenizer:
    """Wraps a tokenizer to exclude it from the cache key, which contains the tokenizer's fingerprint instead."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _UnhashedTokenizer)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=4)
def _find_whole_words(fingerprint: str, wrapper: _UnhashedTokenizer) -> tuple[npt.NDArray[np.int64], list[str]]:
    tokenizer = wrapper.tokenizer
    special_ids = set(tokenizer.all_special_ids)
    ids = [i for i in sorted(tokenizer.get_vocab().values()) if i not in special_ids]
    words = [word.strip() for word in tokenizer.batch_decode([[i] for i in ids])]
    encodings = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    whole_word_pairs = [
        (i, word)
        for i, word, tokens in zip(ids, words, encodings, strict=True)
        if tokens == [i] and any(map(str.isalnum, word))
    ]
    return np.array([i for i, _ in whole_word_pairs], dtype=np.int64), [word for _, word in whole_word_pairs]
