"""Find near-duplicates, which are texts that share most of their word n-grams."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from importlib.util import find_spec
from math import ceil
from typing import TYPE_CHECKING

from winnow.data.cleaning import normalize
from winnow.data.minhash import MinHashIndex, compute_minhashes
from winnow.errors import WinnowError

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet


NEAR_DUPLICATE_THRESHOLD = 0.8
"""The minimum Jaccard index of the word trigrams of two texts that count as near-duplicates."""

_WORDS_PER_NGRAM = 3


def word_ngrams(text: str, words: int) -> set[str]:
    """Return the set of ``words``-word n-grams in a text. A text with fewer words is a single n-gram.

    >>> sorted(word_ngrams("The  shoe is good", 3))
    ['shoe is good', 'the shoe is']
    """
    tokens = normalize(text).split()
    return {" ".join(tokens[start : start + words]) for start in range(max(1, len(tokens) - words + 1))}


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
            "near-duplicate detection requires the package datasketch. Run: pip install 'winnow-mlm[near-duplicates]'"
        )
    from scipy.cluster.hierarchy import DisjointSet

    index = MinHashIndex(compute_minhashes(texts, words, permutations), threshold)
    clusters = DisjointSet(range(len(texts)))
    for row in index.comparable_rows:
        for near, similarity in index.find_candidates(row):
            if similarity >= threshold:
                clusters.merge(near, row)
        if clusters.subset_size(row) > max_cluster_size:
            break
        index.add(row)
    return clusters


class NearDuplicateIndex:
    """Finds all near-duplicates of a text among the indexed texts, by counting shared word trigrams.

    The result is exact. Near-duplicates share an n-gram in their prefixes (prefix filter, Chaudhuri 2006), so a text is
    compared with only a few of the indexed texts.

    Args:
        texts: The texts to index, without duplicates.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._ngrams = {text: word_ngrams(text, _WORDS_PER_NGRAM) for text in texts}
        counts = Counter(ngram for values in self._ngrams.values() for ngram in values)
        self._index: dict[str, list[str]] = defaultdict(list)
        for text, values in self._ngrams.items():
            prefix_length = len(values) - ceil(round(NEAR_DUPLICATE_THRESHOLD * len(values), 6)) + 1
            for ngram in sorted(values, key=lambda ngram: (counts[ngram], ngram))[:prefix_length]:
                self._index[ngram].append(text)

    def __contains__(self, text: str) -> bool:
        return text in self._ngrams

    def find(self, text: str, ignored: Collection[str] = ()) -> set[str]:
        """Return the indexed texts that are near-duplicates of a text, without the texts in ``ignored``."""
        ngrams = word_ngrams(text, _WORDS_PER_NGRAM)
        candidates = {candidate for ngram in ngrams for candidate in self._index.get(ngram, ())}
        return {candidate for candidate in candidates.difference(ignored) if self._is_near(ngrams, candidate)}

    def _is_near(self, ngrams: set[str], candidate: str) -> bool:
        shared = len(ngrams & self._ngrams[candidate])
        union = len(ngrams) + len(self._ngrams[candidate]) - shared
        return shared >= round(NEAR_DUPLICATE_THRESHOLD * union, 6)


def group_near_duplicates(texts: Sequence[str]) -> list[int]:
    """Return each text's group of near-duplicates, as the index of the first text in the group.

    If a and b are near-duplicates, and so are b and c, then all three are in one group (single linkage).

    >>> group_near_duplicates(["a b c d e f g", "x", "a b c d e f g h"])
    [0, 1, 0]
    """
    from scipy.cluster.hierarchy import DisjointSet

    positions: dict[str, int] = {}
    firsts = [positions.setdefault(normalize(text), position) for position, text in enumerate(texts)]
    index, groups = NearDuplicateIndex(positions), DisjointSet(positions.values())
    for text, position in positions.items():
        for other in index.find(text):
            groups.merge(position, positions[other])
    smallest: dict[int, int] = {}
    for first in positions.values():
        root = groups[first]
        smallest[root] = min(first, smallest.get(root, first))
    return [smallest[groups[first]] for first in firsts]
