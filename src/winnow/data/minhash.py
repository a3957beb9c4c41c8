"""Estimate the similarity of texts with MinHash, and find similar texts with locality-sensitive hashing.

The signatures and the candidates are those of the package datasketch, computed for batches of texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha1

import numpy as np
import numpy.typing as npt

from winnow.data.cleaning import normalize

MinHashes = npt.NDArray[np.uint32]

_NGRAMS_PER_BATCH = 4_096  # the hash values of a batch with 128 permutations take 2 MB, which fits into a CPU cache
_SHA1_WORDS = 5  # a SHA-1 digest consists of five 32-bit words


def compute_minhashes(texts: Sequence[str], words: int, permutations: int) -> MinHashes:
    """Return the MinHash (Broder 1997) of each text's word n-grams, of shape ``(texts, permutations)``.

    A text with fewer than ``words`` words is a single n-gram. Each row equals ``hashvalues`` of a datasketch
    ``MinHash`` with the scheme ``affine32``.
    """
    from datasketch import MinHash

    multipliers, offsets = MinHash(num_perm=permutations, scheme="affine32").permutations
    signatures = np.empty((len(texts), permutations), np.uint32)
    row = 0
    for digests, counts in _hash_batches(texts, words):
        hashes = _mix(np.frombuffer(b"".join(digests), "<u4")[::_SHA1_WORDS].astype(np.uint32))
        values = multipliers[:, None] * hashes  # of shape (permutations, n-grams); wraps around
        values += offsets[:, None]
        starts = np.cumsum([0, *counts[:-1]])
        signatures[row : row + len(counts)] = np.minimum.reduceat(values, starts, axis=1).T
        row += len(counts)
    return signatures


def _hash_batches(texts: Sequence[str], words: int) -> Iterator[tuple[list[bytes], list[int]]]:
    """Yield batches of the SHA-1 digests of all n-grams, and the number of n-grams of each text."""
    digests: list[bytes] = []
    counts: list[int] = []
    for text in texts:
        tokens = normalize(text).encode().split(b" ")
        ngrams = [b" ".join(ngram) for ngram in zip(*(tokens[start:] for start in range(words)), strict=False)]
        ngrams = ngrams or [b" ".join(tokens)]
        digests += [sha1(ngram).digest() for ngram in ngrams]  # noqa: S324 (not used for security)
        counts.append(len(ngrams))
        if len(digests) >= _NGRAMS_PER_BATCH:
            yield digests, counts
            digests, counts = [], []
    if counts:
        yield digests, counts


def _mix(hashes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Apply the finalizer of MurmurHash3, as datasketch does before the permutations."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


class MinHashIndex:
    """Finds candidates for similar rows: rows whose MinHashes are equal in at least one band of permutations.

    Args:
        minhashes: The MinHash of each row, of shape ``(rows, permutations)``.
        threshold: The similarity for which datasketch chooses the number of bands and their size.
    """

    def __init__(self, minhashes: MinHashes, threshold: float) -> None:
        from datasketch import MinHashLSH

        bands = MinHashLSH(threshold=threshold, num_perm=minhashes.shape[1]).hashranges
        self._minhashes = minhashes
        self._buckets = np.stack([_number_shared_buckets(minhashes[:, start:end]) for start, end in bands], axis=1)
        self._rows_by_bucket: list[dict[int, list[int]]] = [defaultdict(list) for _ in bands]

    @property
    def comparable_rows(self) -> list[int]:
        """The rows that share a bucket with another row. No other row can be a candidate or have candidates."""
        rows: list[int] = np.flatnonzero((self._buckets >= 0).any(axis=1)).tolist()
        return rows

    def find_candidates(self, row: int) -> list[tuple[int, float]]:
        """Return the added rows that share a bucket with a row, with the estimated Jaccard index of the n-grams."""
        found: set[int] = set()
        for bucket, rows in zip(self._buckets[row].tolist(), self._rows_by_bucket, strict=True):
            found.update(rows.get(bucket, ()))
        if not found:
            return []
        candidates = list(found)
        equal = np.count_nonzero(self._minhashes[candidates] == self._minhashes[row], axis=1)
        return list(zip(candidates, (equal / self._minhashes.shape[1]).tolist(), strict=True))

    def add(self, row: int) -> None:
        """Add a row to the rows that :meth:`find_candidates` returns."""
        for bucket, rows in zip(self._buckets[row].tolist(), self._rows_by_bucket, strict=True):
            if bucket >= 0:
                rows[bucket].append(row)


def _number_shared_buckets(band: MinHashes) -> npt.NDArray[np.int64]:
    """Return a number for each row that is equal for rows with equal values, or -1 if no other row has equal values.

    Rows are compared by a 64-bit hash. If two different rows had the same hash, they would be candidates, and their
    similarity would be estimated from all permutations as for other candidates.
    """
    multipliers = np.random.default_rng(0).integers(0, 2**64, band.shape[1], dtype=np.uint64) | np.uint64(1)
    _, numbers, counts = np.unique(
        (band * multipliers).sum(axis=1, dtype=np.uint64), return_inverse=True, return_counts=True
    )
    buckets: npt.NDArray[np.int64] = np.where(counts[numbers] > 1, numbers, -1)
    return buckets
