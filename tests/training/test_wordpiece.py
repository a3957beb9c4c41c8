import itertools
import os
import subprocess
import sys

import pytest

from winnow.training.wordpiece import train_wordpiece

TEXTS = [
    "Nike shoes are comfortable.",
    "Nike shoes are VERY durable, durable!",
    "running, jogging, hiking and climbing",
    "walking about in Nike shoes",
]


def test_frequent_words_are_single_tokens_and_no_word_is_unknown() -> None:
    tokenizer = train_wordpiece(TEXTS, size=8192, max_length=32)
    assert tokenizer.tokenize("nike SHOES are very durable") == ["nike", "shoes", "are", "very", "durable"]
    assert tokenizer.unk_token_id not in tokenizer("an unseen hiker climbs", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("Nike")["input_ids"]) == ["[CLS]", "nike", "[SEP]"]


def test_a_small_vocabulary_contains_frequent_words_and_suffixes() -> None:
    stems = ["".join(letters) for letters in itertools.product("bdfgk", "aeiou", "lmnrs")]
    texts = [f"nike shoes for {stem}ing" for stem in stems]
    full_size = len(train_wordpiece(texts, size=8192, max_length=32))
    tokenizer = train_wordpiece(texts, size=full_size - 60, max_length=32)
    assert len(tokenizer) == full_size - 60
    assert tokenizer.tokenize("nike shoes for baling") == ["nike", "shoes", "for", "baling"]
    assert tokenizer.tokenize("kusing") == ["k", "##u", "##sing"]
    assert tokenizer.tokenize("gading") == ["g", "##a", "##d", "##ing"]


def test_special_tokens_come_first() -> None:
    tokenizer = train_wordpiece(TEXTS, size=64, max_length=32)
    assert tokenizer.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.mask_token_id == 4
    assert tokenizer.model_max_length == 32


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_vocabulary_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    code = f"from winnow.training.wordpiece import train_wordpiece as t; print(t({TEXTS!r}, 90, 32).get_vocab())"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert eval(printed.stdout) == train_wordpiece(TEXTS, 90, 32).get_vocab()
