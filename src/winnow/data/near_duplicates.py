"""Find near-duplicates, which are texts that share most of their word n-grams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from winnow.data.cleaning import normalize
from winnow.errors import WinnowError

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet


def word_ngrams(text: str, words: int) -> set[str]:
    """Return the set of ``words``-word n-grams in a text. A text with fewer words is a single n-gram.

    >>> sorted(word_ngrams("The  shoe is good", 3))
    ['shoe is good', 'the shoe is']
    """
    tokens = normalize(text).split()
    return {" ".join(tokens[start : start + words]) for start in range(max(1, len(tokens) - words + 1))}


def compute_minhashes(texts: Iterable[str | None], words: int, permutations: int) -> Iterator[Any]:
    """Yield the MinHash (Broder 1997) of each text's word n-grams, or ``None`` for a null text."""
    from datasketch import MinHash

    blank = MinHash(num_perm=permutations)
    for text in texts:
        if text is None:
            yield None
            continue
        signature = blank.copy()
        signature.update_batch([ngram.encode() for ngram in word_ngrams(text, words)])
        yield signature


def cluster_near_duplicates(
    texts: Sequence[str], threshold: float, words: int, permutations: int, max_cluster_size: int
) -> DisjointSet:
    """Cluster the row numbers of near-duplicates. Clusters are the connected components of the near-duplicate pairs.

    Candidates are found with locality-sensitive hashing, so a few pairs just above the threshold may be missed.

    Args:
        texts: The texts.
        threshold: Two texts are near-duplicates if the estimated Jaccard index of their n-grams is at least this value.
        words: Words per n-gram.
        permutations: Number of hash functions. The standard error of the estimate is about ``1 / sqrt(permutations)``.
        max_cluster_size: The maximum number of rows in a cluster. Clustering stops as soon as a cluster is larger.

    Raises:
        WinnowError: If the package datasketch is not installed.
    """
    if find_spec("datasketch") is None:
        raise WinnowError(
            "near-duplicate detection requires the package datasketch. Run: pip install 'winnow[near-duplicates]'"
        )
    from datasketch import MinHashLSH
    from scipy.cluster.hierarchy import DisjointSet

    index = MinHashLSH(threshold=threshold, num_perm=permutations)
    clusters = DisjointSet(range(len(texts)))
    known: list[Any] = []
    for row, signature in enumerate(compute_minhashes(texts, words, permutations)):
        for near in index.query(signature):
            if not clusters.connected(near, row) and signature.jaccard(known[near]) >= threshold:
                clusters.merge(near, row)
        if clusters.subset_size(row) > max_cluster_size:
            break
        known.append(signature)
        index.insert(row, signature, check_duplication=False)
    return clusters
