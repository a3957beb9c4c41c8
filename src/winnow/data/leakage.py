"""Measure leakage between splits by comparing their texts."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from winnow.data.cleaning import normalize
from winnow.data.corpus import SPLITS, Corpus
from winnow.data.near_duplicates import NearDuplicateIndex

_MIN_ROWS_PER_SPLIT, _MAX_ROWS_PER_SPLIT = 100, 1_000
_MAX_ROW_PAIRS = 500_000_000  # limits the number of compared held-out rows per split if the train split is large
_TRAIN_ROWS_PER_CHUNK = 2_048


def count_shared_texts(corpus: Corpus) -> dict[str, int]:
    """Count the normalized texts that each pair of splits shares.

    Only texts and split names are used, so the counts also reveal errors in row ids, deduplication and splitting.

    Returns:
        The number of shared texts per pair: ``{"train/validation": 0, "train/test": 0, "validation/test": 0}``.
    """
    texts = {name: {normalize(text) for text in corpus.split(name)["text"].to_pylist()} for name in SPLITS}
    return {f"{a}/{b}": len(texts[a] & texts[b]) for a, b in itertools.combinations(SPLITS, 2)}


def measure_leakage(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Compare held-out rows with all training rows to find exact duplicates and near-duplicates.

    Near-duplicates are found exactly, by counting shared word n-grams, rather than with the MinHash estimate that a
    split may use. At most 1,000 rows per held-out split are compared. If there are more than 500,000 training rows,
    this limit is lower, but at least 100. The rows are selected by the hash of their text.

    Rows that were generated from the same template differ in only a few words. In short texts, such rows share too few
    n-grams to count as near-duplicates. Therefore, the number of words in which each row differs from the most similar
    training row is also measured.

    Returns:
        For each held-out split (all external sets count as one): ``rows``, the number of rows compared; ``exact``, the
        fraction of these rows with an exact duplicate in train; ``near``, the fraction with a near-duplicate in train;
        ``one_word`` and ``two_words``, the fractions that differ from a training row with the same number of words in
        at most one word and at most two words. Exact duplicates are included in all other fractions.
    """
    present = [name for name in corpus.table["split"].unique().to_pylist() if name != "train"]
    sample: dict[str, list[str]] = {}
    train_rows = corpus.split("train").num_rows
    size = max(_MIN_ROWS_PER_SPLIT, min(_MAX_ROWS_PER_SPLIT, _MAX_ROW_PAIRS // max(1, train_rows)))
    for name in sorted(present):
        rows = corpus.table.filter(pc.equal(corpus.table["split"], name))
        texts = {normalize(text) for text in rows["text"].to_pylist()}
        sample[name] = sorted(texts, key=_hash_text)[:size]
    sampled_texts = [text for selected in sample.values() for text in selected]
    exact, near = _find_duplicates(sampled_texts, corpus)
    distances = compute_word_distances(sampled_texts, corpus)
    result = {}
    for name, selected in sample.items():
        fractions = [sum(text in known for text in selected) / max(1, len(selected)) for known in (exact, near)]
        within = [sum(distances[text] <= words for text in selected) / max(1, len(selected)) for words in (1, 2)]
        result[name] = {
            "rows": len(selected),
            "exact": fractions[0],
            "near": fractions[1],
            "one_word": within[0],
            "two_words": within[1],
        }
    return result


def compute_word_distances(texts: Sequence[str], corpus: Corpus) -> dict[str, float]:
    """Return the number of words in which each normalized text differs from the most similar training row.

    A text is compared, word by word, only with training rows that have the same number of words. If there are no such
    rows, the distance is infinite.
    """
    words = {text: text.split() for text in texts}
    numbers: dict[str, int] = {}
    for word in itertools.chain.from_iterable(words.values()):
        numbers.setdefault(word, len(numbers))
    texts_by_length: dict[int, list[str]] = defaultdict(list)
    for text, text_words in words.items():
        texts_by_length[len(text_words)].append(text)
    encoded = {
        length: np.array([[numbers[word] for word in words[text]] for text in group], dtype=np.int32)
        for length, group in texts_by_length.items()
    }
    smallest = {length: np.full(len(group), np.inf) for length, group in texts_by_length.items()}
    for batch in corpus.split("train").select(["text"]).to_batches(max_chunksize=_TRAIN_ROWS_PER_CHUNK):
        rows_by_length: dict[int, list[list[int]]] = defaultdict(list)
        for text in batch["text"].to_pylist():
            row = normalize(text).split()
            if len(row) in encoded:
                # Words that occur in no held-out row have the number -1, which never matches.
                rows_by_length[len(row)].append([numbers.get(word, -1) for word in row])
        for length, rows in rows_by_length.items():
            distances = _count_min_differences(np.array(rows, dtype=np.int32), encoded[length])
            smallest[length] = np.minimum(smallest[length], distances)
    return {
        text: float(distance)
        for length, group in texts_by_length.items()
        for text, distance in zip(group, smallest[length], strict=True)
    }


def _count_min_differences(train_rows: npt.NDArray[np.int32], texts: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return, for each text, the number of words in which it differs from the most similar training row."""
    differences = np.zeros((len(texts), len(train_rows)), dtype=np.int32)
    for position in range(texts.shape[1]):
        differences += texts[:, position, None] != train_rows[None, :, position]
    smallest: npt.NDArray[np.int64] = differences.min(axis=1).astype(np.int64)
    return smallest


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
