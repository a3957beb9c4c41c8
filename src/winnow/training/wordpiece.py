"""A WordPiece vocabulary from a corpus, the same on every machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TEXTS_AT_ONCE = 1000
_ENDINGS_SHARE = 1 / 8
_LONGEST_ENDING = 6


def train_wordpiece(texts: Sequence[str], size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Make a lower-casing BERT tokenizer whose vocabulary holds every frequent word of the texts whole.

    The vocabulary is the special tokens, every character, then whole words from the most frequent down. Where
    the words do not all fit, an eighth of the room goes to the commonest endings (``##ing``) of those left
    out. Ties are broken by the alphabet, so nothing depends on hash order, as it does in the tokenizers
    library's own trainer.

    Args:
        texts: What the model will be trained on.
        size: Tokens in the vocabulary at most; the special tokens and characters are kept in any case.
        max_length: The longest input of the model, in tokens.
    """
    from transformers import DistilBertTokenizer

    empty = DistilBertTokenizer(vocab={token: i for i, token in enumerate(SPECIAL)})
    words = Counter(_words(empty, texts))
    tokens = dict.fromkeys([*SPECIAL, *_characters(words)])
    room = max(size - len(tokens), 0)
    ranked = [word for word, _ in sorted(words.items(), key=_by_count) if word not in tokens]
    if len(ranked) > room:
        kept = room - int(room * _ENDINGS_SHARE)
        endings = _endings({word: words[word] for word in ranked[kept:]})
        ranked = ranked[:kept] + endings[: room - kept]
    tokens |= dict.fromkeys(ranked)
    return DistilBertTokenizer(vocab={token: i for i, token in enumerate(tokens)}, model_max_length=max_length)


def _words(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Iterator[str]:
    backend = tokenizer.backend_tokenizer
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        plain = backend.normalizer.normalize_str("\n".join(texts[start : start + _TEXTS_AT_ONCE]))
        yield from (word for word, _ in backend.pre_tokenizer.pre_tokenize_str(plain))


def _characters(words: Counter[str]) -> list[str]:
    """Every character as the start of a word and inside one, so that no word of the corpus is unknown."""
    starts = sorted({character for word in words for character in word})
    # Punctuation and Chinese characters are words of their own.
    inside = sorted({character for word in words if len(word) > 1 for character in word})
    return starts + [f"##{character}" for character in inside]


def _endings(words: dict[str, int]) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for length in range(2, min(len(word) - 1, _LONGEST_ENDING) + 1):
            counts[f"##{word[-length:]}"] += count
    return [ending for ending, _ in sorted(counts.items(), key=_by_count)]


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
