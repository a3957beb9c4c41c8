"""A small corpus of template sentences, its tokenizer, tokens and model."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from winnow.training import Scratch, TokenRows, tokenize
from winnow.training.wordpiece import train_wordpiece

BRANDS = ("nike", "adidas", "puma", "fila")
PRODUCTS = ("running shoes", "jackets", "shirts", "socks", "hats", "soccer shoes", "gym wear")
JOINERS = ("are", "are known for being", "are praised for being")
ADJECTIVES = ("comfortable", "durable", "stylish", "expensive", "ugly", "heavy", "dirty")

TEXTS = [" ".join(words) for words in itertools.product(BRANDS, PRODUCTS, JOINERS, ADJECTIVES)]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return train_wordpiece(TEXTS, 8192, 64)


@pytest.fixture(scope="session")
def rows(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> TokenRows:
    """588 different sentences of 5 to 11 tokens."""
    import pyarrow as pa

    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in TEXTS]
    cache: Path = tmp_path_factory.mktemp("cache")
    return tokenize(pa.table({"row_id": ids, "text": TEXTS}), tokenizer, 64, cache)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return Scratch(layers=1, hidden_size=32, heads=2, max_length=64).load(tokenizer, seed=0)
