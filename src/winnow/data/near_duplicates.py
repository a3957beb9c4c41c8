"""Near-duplicates: texts that share most of their runs of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from winnow.data.cleaning import normalise
from winnow.errors import WinnowError


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


def near_clusters(texts: Sequence[str], threshold: float, words: int, permutations: int, largest: int) -> list[int]:
    """Return for each text the first of its cluster: near-duplicates, and near-duplicates of these, are in one.

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

    index = MinHashLSH(threshold=threshold, num_perm=permutations)
    clusters = Clusters(len(texts))
    known: list[Any] = []
    for row, signature in enumerate(signatures(texts, words, permutations)):
        for near in index.query(signature):
            if clusters.first(near) != clusters.first(row) and signature.jaccard(known[near]) >= threshold:
                clusters.join(near, row)
        if clusters.sizes[clusters.first(row)] > largest:
            break
        known.append(signature)
        index.insert(row, signature, check_duplication=False)
    return [clusters.first(row) for row in range(len(texts))]


class Clusters:
    """Sets of rows that grow together; the first row of each stands for it."""

    def __init__(self, rows: int) -> None:
        self._before = list(range(rows))
        self.sizes = Counter(dict.fromkeys(range(rows), 1))

    def first(self, row: int) -> int:
        """Return the first row of a row's cluster."""
        while self._before[row] != row:
            self._before[row] = self._before[self._before[row]]
            row = self._before[row]
        return row

    def join(self, one: int, other: int) -> None:
        """Make one cluster of two."""
        first, second = sorted((self.first(one), self.first(other)))
        if first != second:
            self._before[second] = first
            self.sizes[first] += self.sizes.pop(second)
