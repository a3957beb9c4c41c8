"""Train a WordPiece vocabulary deterministically."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TEXTS_PER_BATCH = 1000
_SUFFIX_FRACTION = 1 / 8
_MAX_SUFFIX_LENGTH = 6


def train_wordpiece(texts: Sequence[str], size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Train and return an uncased BERT tokenizer that keeps frequent words as single tokens.

    The vocabulary consists of the special tokens, all characters, and whole words in descending order of frequency. If
    not all words fit, one eighth of the remaining size is reserved for the most frequent suffixes (such as ``##ing``)
    of the words that do not fit. Ties are broken alphabetically, so the result does not depend on hash order, unlike
    the result of the trainer in the tokenizers library.

    Args:
        texts: The model's training texts.
        size: Maximum vocabulary size. Special tokens and characters are always included, even if they exceed this size.
        max_length: The model's maximum input length, in tokens.
    """
    from transformers import DistilBertTokenizer

    empty_tokenizer = DistilBertTokenizer(vocab={token: i for i, token in enumerate(SPECIAL_TOKENS)})
    words = Counter(_split_words(empty_tokenizer, texts))
    tokens = dict.fromkeys([*SPECIAL_TOKENS, *_list_characters(words)])
    num_remaining = max(size - len(tokens), 0)
    ranked_tokens = [word for word, _ in sorted(words.items(), key=_rank_by_count) if word not in tokens]
    if len(ranked_tokens) > num_remaining:
        num_words = num_remaining - int(num_remaining * _SUFFIX_FRACTION)
        suffixes = _rank_suffixes({word: words[word] for word in ranked_tokens[num_words:]})
        ranked_tokens = ranked_tokens[:num_words] + suffixes[: num_remaining - num_words]
    tokens |= dict.fromkeys(ranked_tokens)
    return DistilBertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=max_length)


def _split_words(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterator[str]:
    backend = tokenizer.backend_tokenizer
    for start in range(0, len(texts), _TEXTS_PER_BATCH):
        normalized_text = backend.normalizer.normalize_str("\n".join(texts[start : start + _TEXTS_PER_BATCH]))
        yield from (word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normalized_text))


def _list_characters(words: Counter[str]) -> list[str]:
    """Return word-initial and continuation tokens for all characters, so that every word can be encoded."""
    start_tokens = sorted({character for word in words for character in word})
    # Punctuation and Chinese characters are always single-character words, so they need no continuation token.
    continuations = sorted({character for word in words if len(word) > 1 for character in word})
    return start_tokens + [f"##{character}" for character in continuations]


def _rank_suffixes(words: dict[str, int]) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for length in range(2, min(len(word) - 1, _MAX_SUFFIX_LENGTH) + 1):
            counts[f"##{word[-length:]}"] += count
    return [suffix for suffix, _ in sorted(counts.items(), key=_rank_by_count)]


def _rank_by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
