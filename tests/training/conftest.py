"""A small corpus of template sentences, its tokenizer, tokens and model."""

import hashlib
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from winnow.training import Scratch, TokenRows, tokenize

BRANDS = ("nike", "adidas", "puma", "fila")
PRODUCTS = ("running shoes", "jackets", "shirts", "socks", "hats", "soccer shoes", "gym wear")
JOINERS = ("are", "are known for being", "are praised for being")
ADJECTIVES = ("comfortable", "durable", "stylish", "expensive", "ugly", "heavy", "dirty")

TINY = Scratch(layers=1, hidden_size=32, heads=2, max_length=64)


def table_of(texts: list[str]) -> pa.Table:
    ids = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts]
    return pa.table({"row_id": ids, "text": texts, "split": ["train"] * len(texts)})


@pytest.fixture(scope="session")
def make_table() -> Any:
    return table_of


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """588 different sentences of 5 to 11 tokens."""
    return table_of([" ".join(words) for words in itertools.product(BRANDS, PRODUCTS, JOINERS, ADJECTIVES)])


@pytest.fixture(scope="session")
def corpus(table: pa.Table) -> Any:
    """What a tokenizer needs of a corpus."""
    return SimpleNamespace(fingerprint="0123456789abcdef", table=table, split=lambda name: table)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny() -> Scratch:
    return TINY


@pytest.fixture(scope="session")
def tokenizer(corpus: Any, cache_dir: Path) -> Any:
    return TINY.tokenizer(corpus, cache_dir)


@pytest.fixture(scope="session")
def rows(table: pa.Table, tokenizer: Any, cache_dir: Path) -> TokenRows:
    return tokenize(table, tokenizer, 64, cache_dir)


@pytest.fixture
def model(tokenizer: Any) -> Any:
    return TINY.load(tokenizer, seed=0)
