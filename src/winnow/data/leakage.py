"""Measure leakage between splits by comparing their texts."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any

import pyarrow.compute as pc

from winnow.data.cleaning import normalize
from winnow.data.corpus import SPLITS, Corpus
from winnow.data.near_duplicates import NearDuplicateIndex

_MAX_ROWS_PER_SPLIT = 1_000


def count_shared_texts(corpus: Corpus) -> dict[str, int]:
    """Count the normalized texts that each pair of splits shares.

    Only texts and split names are used, so the counts also reveal errors in row ids, deduplication and splitting.

    Returns:
        The number of shared texts per pair: ``{"train/validation": 0, "train/test": 0, "validation/test": 0}``.
    """
    texts = {name: {normalize(text) for text in corpus.split(name)["text"].to_pylist()} for name in SPLITS}
    return {f"{a}/{b}": len(texts[a] & texts[b]) for a, b in combinations(SPLITS, 2)}


def measure_leakage(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Compare held-out rows with all training rows to find exact duplicates and near-duplicates.

    Near-duplicates are found exactly, by counting shared word n-grams, rather than with the MinHash estimate that a
    split may use. At most 1,000 rows per held-out split, selected by the hash of their text, are compared.

    Returns:
        For each held-out split (all external sets count as one): ``rows``, the number of rows compared; ``exact``, the
        fraction of these rows with an exact duplicate in train; and ``near``, the fraction with a near-duplicate in
        train. Exact duplicates also count as near-duplicates.
    """
    present = [name for name in corpus.table["split"].unique().to_pylist() if name != "train"]
    sample: dict[str, list[str]] = {}
    for name in sorted(present):
        rows = corpus.table.filter(pc.equal(corpus.table["split"], name))
        texts = {normalize(text) for text in rows["text"].to_pylist()}
        sample[name] = sorted(texts, key=_hash_text)[:_MAX_ROWS_PER_SPLIT]
    exact, near = _find_duplicates([text for texts in sample.values() for text in texts], corpus)
    result = {}
    for name, selected in sample.items():
        fractions = [sum(text in known for text in selected) / max(1, len(selected)) for known in (exact, near)]
        result[name] = {"rows": len(selected), "exact": fractions[0], "near": fractions[1]}
    return result


def _find_duplicates(texts: list[str], corpus: Corpus) -> tuple[set[str], set[str]]:
    """Return the texts that have an exact duplicate in train, and the texts that have a near-duplicate in train."""
    index = NearDuplicateIndex(texts)
    exact: set[str] = set()
    near: set[str] = set()
    for batch in corpus.split("train").select(["text"]).to_batches():
        for text in map(normalize, batch["text"].to_pylist()):
            if text in index:
                exact.add(text)
            near |= index.find(text, ignored=near)
    return exact, near


def _hash_text(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
