"""Near-duplicates: texts that share most of their runs of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from winnow.data.cleaning import normalise
from winnow.errors import WinnowError

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet


def runs_of(text: str, words: int) -> set[str]:
    """Return the runs of so many words in a text, each once; a shorter text is one run.

    >>> sorted(runs_of("The  shoe is good", 3))
    ['shoe is good', 'the shoe is']
    """
    tokens = normalise(text).split()
    return {" ".join(tokens[start : start + words]) for start in range(max(1, len(tokens) - words + 1))}


def signatures(texts: Iterable[str | None], words: int, permutations: int) -> Iterator[Any]:
    """Yield the MinHash (Broder 1997) of each text's runs of words; None for null."""
    from datasketch import MinHash

    blank = MinHash(num_perm=permutations)
    for text in texts:
        if text is None:
            yield None
            continue
        signature = blank.copy()
        signature.update_batch([run.encode() for run in runs_of(text, words)])
        yield signature


def near_clusters(texts: Sequence[str], threshold: float, words: int, permutations: int, largest: int) -> DisjointSet:
    """Return clusters of row numbers: near-duplicates, and near-duplicates of these, are in one.

    Candidates come from locality-sensitive hashing, so a few pairs just above the threshold are missed.

    Args:
        texts: The texts.
        threshold: The Jaccard index of their runs of words, estimated, from which two texts are near-duplicates.
        words: How many words make a run.
        permutations: Hash functions; the standard error of the estimate is about one over their square root.
        largest: Stop as soon as a cluster is larger, for the others do not matter then.

    Raises:
        WinnowError: The package datasketch is missing.
    """
    if find_spec("datasketch") is None:
        raise WinnowError("Near-duplicates need the package datasketch: pip install 'winnow[near-duplicates]'.")
    from datasketch import MinHashLSH
    from scipy.cluster.hierarchy import DisjointSet

    index = MinHashLSH(threshold=threshold, num_perm=permutations)
    clusters = DisjointSet(range(len(texts)))
    known: list[Any] = []
    for row, signature in enumerate(signatures(texts, words, permutations)):
        for near in index.query(signature):
            if not clusters.connected(near, row) and signature.jaccard(known[near]) >= threshold:
                clusters.merge(near, row)
        if clusters.subset_size(row) > largest:
            break
        known.append(signature)
        index.insert(row, signature, check_duplication=False)
    return clusters
