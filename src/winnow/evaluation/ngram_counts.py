"""Count the tokens in each context of an n-gram model, and discount the counts. All results are flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DISCOUNT = 0.75
"""The discount that is subtracted from each count (Chen and Goodman 1999, section 2.6)."""

_ENTRIES_PER_CHUNK = 2**21


@dataclass(frozen=True, eq=False)
class ContextCounts:
    """The probabilities of the tokens in each context after absolute discounting.

    The count of each distinct token is reduced by :data:`DISCOUNT`. The probability that is freed in this way is
    reserved for the predictions from the next shorter context.

    Attributes:
        size: The size of the vocabulary.
        contexts: The contexts that occur, as sorted integer codes. Row i holds the tokens of ``contexts[i]``. One more
            row, the last one, represents all contexts that do not occur. An entry is a distinct token of a row.
        starts: The index of the first entry of each row, followed by the number of entries; shape ``(rows + 1,)``.
        codes: The row and token of each entry as ``row * size + token``, sorted; shape ``(entries,)``.
        probabilities: ``(count - DISCOUNT) / (sum of counts of the row)`` of each entry, shape ``(entries,)``.
        reserved: The reserved probability of each row, shape ``(rows,)``; 1 for contexts that do not occur.
    """

    size: int
    contexts: Ints
    starts: Ints
    codes: Ints
    probabilities: Floats
    reserved: Floats

    @classmethod
    def count(cls, contexts: Ints, tokens: Ints, size: int) -> ContextCounts:
        """Count the tokens in each context.

        Args:
            contexts: The context of each token, as an integer code.
            tokens: The token ids.
            size: The size of the vocabulary.
        """
        entries, counts = np.unique(contexts * size + tokens, return_counts=True)
        distinct_contexts, starts = np.unique(entries // size, return_index=True)
        starts = np.append(starts, [len(entries)] * 2)
        rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        totals = np.bincount(rows, weights=counts, minlength=len(starts) - 1)
        reserved = np.divide(DISCOUNT * np.diff(starts), totals, out=np.ones(len(totals)), where=totals > 0)
        codes = rows * size + entries % size
        return cls(size, distinct_contexts, starts, codes, (counts - DISCOUNT) / totals[rows], reserved)

    @property
    def tokens(self) -> Ints:
        """The token of each entry, shape ``(entries,)``."""
        return self.codes % self.size

    def find_rows(self, contexts: Ints) -> Ints:
        """Return the row of each context."""
        rows = np.searchsorted(self.contexts, contexts)
        return np.where(np.append(self.contexts, -1)[rows] == contexts, rows, len(self.contexts))

    def get(self, rows: Ints, tokens: Ints) -> Floats:
        """Return the discounted probability of the given token in each row; 0 for tokens that do not occur."""
        codes = rows * self.size + tokens
        entries = np.searchsorted(self.codes, codes)
        is_found = np.append(self.codes, -1)[entries] == codes
        return np.where(is_found, np.append(self.probabilities, 0.0)[entries], 0.0)

    def sum_rows(self, weights: Floats) -> Floats:
        """Return the weighted sum of the probabilities in each row, given the weight of each token."""
        rows, num_rows = self.codes // self.size, len(self.starts) - 1
        entry_weights = self.probabilities * weights[self.tokens]
        return np.bincount(rows, weights=entry_weights, minlength=num_rows).astype(np.float64)

    def count_entries(self, rows: Ints) -> Ints:
        """Return the number of distinct tokens in each row."""
        return self.starts[rows + 1] - self.starts[rows]

    def list_entries(self, rows: Ints) -> tuple[Ints, Ints, Floats]:
        """Return the index in ``rows``, the token and the probability of each entry of the given rows."""
        counts = self.count_entries(rows)
        indices = np.repeat(np.arange(len(rows)), counts)
        entries = np.arange(len(indices)) + np.repeat(self.starts[rows] - np.cumsum(counts) + counts, counts)
        return indices, self.codes[entries] % self.size, self.probabilities[entries]


def sum_common_entries(a: ContextCounts, a_rows: Ints, b: ContextCounts, b_rows: Ints, weights: Floats) -> Floats:
    """Return the weighted sum of ``a * b`` over the tokens that two rows have in common, for each pair of rows.

    Identical pairs are computed only once. The tokens of the shorter row are looked up in the longer row.
    """
    pairs, inverse = np.unique(a_rows * len(b.starts) + b_rows, return_inverse=True)
    rows = pairs // len(b.starts), pairs % len(b.starts)
    sizes = a.count_entries(rows[0]), b.count_entries(rows[1])
    sums = np.zeros(len(pairs))
    for table, other, table_rows, other_rows, is_shorter in (
        (a, b, *rows, sizes[0] <= sizes[1]),
        (b, a, *rows[::-1], sizes[0] > sizes[1]),
    ):
        selected = np.flatnonzero(is_shorter & (np.minimum(*sizes) > 0))
        num_chunks = 1 + int(table.count_entries(table_rows[selected]).sum()) // _ENTRIES_PER_CHUNK
        for chunk in np.array_split(selected, num_chunks):
            indices, tokens, probabilities = table.list_entries(table_rows[chunk])
            products = probabilities * other.get(other_rows[chunk][indices], tokens) * weights[tokens]
            sums[chunk] = np.bincount(indices, weights=products, minlength=len(chunk))
    return sums[inverse]
