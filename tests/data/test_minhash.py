"""Tests of :mod:`winnow.data.minhash`, which must give the same results as datasketch."""

import numpy as np
import pytest

from winnow.data.minhash import MinHashIndex, compute_minhashes
from winnow.data.near_duplicates import cluster_near_duplicates, word_ngrams
from winnow.filters import Duplicate

datasketch = pytest.importorskip("datasketch")

THRESHOLD, WORDS, PERMUTATIONS = 0.6, 2, 64


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts that share 0 to all of their words, with other texts far apart, in different scripts and lengths."""
    rng = np.random.default_rng(0)
    words = np.array(
        ["shoe", "Shoe", "cafe\u0301", "café", "ﬁt", "STRASSE", "straße", "鞋", "\u00a0x", "a\x1cb", *"abcdefgh"]
    )
    texts = ["", " ", "one", *(" ".join(rng.choice(words, size)) for size in rng.integers(1, 60, 150))]
    for row in rng.integers(0, 150, 150):
        changed = texts[row].split(" ")
        changed[rng.integers(len(changed))] = str(rng.choice(words))
        texts.append(" ".join(changed))
    return [*texts, " ".join(f"word{number}" for number in range(9_000))]  # more n-grams than a batch


@pytest.fixture(scope="module")
def expected(texts: list[str]) -> list[datasketch.MinHash]:
    signatures = []
    for text in texts:
        signatures.append(datasketch.MinHash(num_perm=PERMUTATIONS))
        signatures[-1].update_batch([ngram.encode() for ngram in word_ngrams(text, WORDS)])
    return signatures


def test_minhashes_are_those_of_datasketch(texts: list[str], expected: list[datasketch.MinHash]) -> None:
    minhashes = compute_minhashes(texts, WORDS, PERMUTATIONS)
    np.testing.assert_array_equal(minhashes, [signature.hashvalues for signature in expected])
    assert compute_minhashes([], WORDS, PERMUTATIONS).shape == (0, PERMUTATIONS)


def test_candidates_are_those_of_datasketch(texts: list[str], expected: list[datasketch.MinHash]) -> None:
    reference = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    index = MinHashIndex(compute_minhashes(texts, WORDS, PERMUTATIONS), THRESHOLD)
    counts = []
    for row, signature in enumerate(expected):
        near = {other: signature.jaccard(expected[other]) for other in reference.query(signature)}
        assert dict(index.find_candidates(row)) == near
        assert not near or row in index.comparable_rows
        counts.append(len(near))
        reference.insert(row, signature)
        index.add(row)
    assert 0 in counts
    assert max(counts) > 3


def test_duplicates_and_clusters_are_those_of_datasketch(texts: list[str], expected: list[datasketch.MinHash]) -> None:
    kept = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    scores = []
    for row, signature in enumerate(expected):
        scores.append(max((signature.jaccard(expected[other]) for other in kept.query(signature)), default=0.0))
        if scores[-1] < THRESHOLD:
            kept.insert(row, signature)
    signal = Duplicate(threshold=THRESHOLD, words=WORDS, permutations=PERMUTATIONS)
    assert signal.score([*texts[:5], None, *texts[5:]]).to_pylist() == [*scores[:5], None, *scores[5:]]
    assert signal.score([None]).to_pylist() == [None]

    clusters = cluster_near_duplicates(texts, THRESHOLD, WORDS, PERMUTATIONS, len(texts))
    every = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    for row, signature in enumerate(expected):
        for other in every.query(signature):
            assert signature.jaccard(expected[other]) < THRESHOLD or clusters.connected(row, other)
        every.insert(row, signature)
    pairs = sum(len(group) - 1 for group in clusters.subsets())
    assert 0 < pairs < len(texts) - 1
