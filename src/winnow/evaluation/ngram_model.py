"""Fit n-gram models on training rows, and predict masked tokens from their left and right contexts.

An n-gram model is a baseline that uses only the n-gram counts of the training rows. The counts are computed with numpy
because the n-gram models of ``nltk.lm`` are too slow: on the demo's 17,513 training rows, ``KneserNeyInterpolated``
needs 4 CPU seconds to fit both directions and 0.4 ms per probability, which adds up to 10 minutes for the distributions
at the held-out masks. This module needs 0.05 CPU seconds for both. A test compares its probabilities with those of
``nltk.lm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from winnow.evaluation.ngram_counts import ContextCounts, Floats, Ints, sum_common_entries

if TYPE_CHECKING:
    from winnow.training import TokenRows

MAX_TRAINING_TOKENS = 2_000_000
"""The maximum number of training tokens to count. Larger corpora are sampled; see :meth:`NgramModel.fit`."""


@dataclass(frozen=True, eq=False)
class SideCounts:
    """Counts of each token given the two tokens on one side of it, smoothed with interpolated Kneser-Ney.

    The trigram counts are ordinary counts. A bigram's count is the number of distinct tokens that occur next to the
    bigram on this side (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7).

    Attributes:
        side: -1 for the tokens on the left, 1 for those on the right.
        trigrams: The counts given two context tokens.
        bigrams: The counts given the adjacent context token.
        base: The probability of each token without any context: the number of distinct tokens that occur next to the
            token, plus 1 for smoothing, divided by the sum over all tokens; shape ``(vocabulary,)``.
    """

    side: int
    trigrams: ContextCounts
    bigrams: ContextCounts
    base: Floats

    @classmethod
    def count(cls, rows: TokenRows, positions: Ints, side: int) -> SideCounts:
        """Count the tokens at the positions and their two neighbors on one side."""
        vocabulary = rows.vocabulary
        trigrams = ContextCounts.count(
            _encode_contexts(rows, positions, side), rows.ids[positions].astype(np.int64), vocabulary.size
        )
        distinct_contexts = trigrams.contexts[trigrams.codes // vocabulary.size]
        bigrams = ContextCounts.count(_get_adjacent(distinct_contexts, rows), trigrams.tokens, vocabulary.size)
        counts = np.bincount(bigrams.tokens, minlength=vocabulary.size) + ~vocabulary.is_special
        return cls(side, trigrams, bigrams, counts / counts.sum())

    def predict(self, rows: TokenRows, positions: Ints) -> SidePrediction:
        """Look up the context of each position in the counts."""
        contexts = _encode_contexts(rows, positions, self.side)
        return SidePrediction(
            self, self.trigrams.find_rows(contexts), self.bigrams.find_rows(_get_adjacent(contexts, rows))
        )


@dataclass(frozen=True, eq=False)
class SidePrediction:
    """The rows of the counts that predict the tokens at several positions from one side.

    Attributes:
        counts: The counts of this side.
        trigram_rows: The row in ``counts.trigrams`` of each position's two context tokens.
        bigram_rows: The row in ``counts.bigrams`` of each position's adjacent token.
    """

    counts: SideCounts
    trigram_rows: Ints
    bigram_rows: Ints

    @property
    def is_unknown(self) -> npt.NDArray[np.bool_]:
        """Whether the adjacent token, such as a mask, never occurs as a context in the training rows."""
        return np.equal(self.bigram_rows, len(self.counts.bigrams.contexts))

    @property
    def bigram_weights(self) -> Floats:
        """The weight of the bigram probabilities: the probability that the trigrams reserve."""
        return self.counts.trigrams.reserved[self.trigram_rows]

    @property
    def base_weights(self) -> Floats:
        """The weight of the base probabilities: the product of the reserved trigram and bigram probabilities."""
        return self.bigram_weights * self.counts.bigrams.reserved[self.bigram_rows]

    def get_probabilities(self, tokens: Ints, unigram: Floats) -> Floats:
        """Return the probability of the given token at each position."""
        counts = self.counts
        bigrams = self.bigram_weights * counts.bigrams.get(self.bigram_rows, tokens)
        known = counts.trigrams.get(self.trigram_rows, tokens) + bigrams + self.base_weights * counts.base[tokens]
        return np.where(self.is_unknown, unigram[tokens], known)

    def get_distributions(self, unigram: Floats) -> Floats:
        """Return the probability of every token at each position, shape ``(positions, vocabulary)``."""
        counts = self.counts
        total: Floats = self.base_weights[:, None] * counts.base
        indices, tokens, probabilities = counts.bigrams.list_entries(self.bigram_rows)
        total[indices, tokens] += self.bigram_weights[indices] * probabilities
        indices, tokens, probabilities = counts.trigrams.list_entries(self.trigram_rows)
        total[indices, tokens] += probabilities
        total[self.is_unknown] = unigram
        return total

    def sum_observed(self, weights: Floats) -> Floats:
        """Return the weighted sum of the trigram and bigram probabilities over all tokens, for each position."""
        bigrams = self.counts.bigrams.sum_rows(weights)[self.bigram_rows]
        total: Floats = self.counts.trigrams.sum_rows(weights)[self.trigram_rows] + self.bigram_weights * bigrams
        return total


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A unigram or trigram model that predicts a token from its neighbors on both sides.

    Attributes:
        unigram: The probability of each token, smoothed by adding 1 to each count; shape ``(vocabulary,)``. Special
            tokens are never masked, so their probability is 0.
        sides: The counts of the left and the right side; ``None`` for a unigram model.
    """

    unigram: Floats
    sides: tuple[SideCounts, SideCounts] | None = None

    @classmethod
    def fit(cls, rows: TokenRows, max_tokens: int = MAX_TRAINING_TOKENS) -> NgramModel:
        """Count each token of the training rows, alone and together with its two neighbors on either side.

        If the rows have more than ``max_tokens`` tokens, only the rows with the smallest keys are counted. Keys are
        hashes of the texts, so the sample is random but the same in every run.
        """
        rows, vocabulary = _sample_rows(rows, max_tokens), rows.vocabulary
        positions = np.flatnonzero(~vocabulary.is_special[rows.ids])
        tokens = rows.ids[positions].astype(np.int64)
        counts = np.bincount(tokens, minlength=vocabulary.size) + ~vocabulary.is_special
        sides = SideCounts.count(rows, positions, -1), SideCounts.count(rows, positions, 1)
        return cls(counts / counts.sum(), sides)

    @property
    def unigram_model(self) -> NgramModel:
        """The unigram model that was fitted on the same rows."""
        return NgramModel(self.unigram)

    def score_tokens(self, rows: TokenRows, positions: Ints, tokens: Ints) -> Floats:
        """Return the log probability of the given token at each position, in nats.

        The probability of a token w between the contexts L and R is proportional to
        ``P(w | L) * P(w | R) / P(w)``: the forward times the backward probability, divided by the unigram probability,
        which is included in both. If the adjacent token on one side is a mask or an unknown token, the probability
        given this side is the unigram probability, which cancels out.

        Args:
            rows: The masked rows.
            positions: Indices in ``rows.ids``. The tokens at these positions are not used.
            tokens: A token id for each position.
        """
        if self.sides is None:
            return np.log(self.unigram[tokens])
        left, right = (side.predict(rows, positions) for side in self.sides)
        products = left.get_probabilities(tokens, self.unigram) * right.get_probabilities(tokens, self.unigram)
        return np.log(products / self.unigram[tokens] / self._sum_products(left, right))

    def predict_log_probabilities(self, rows: TokenRows, positions: Ints) -> Floats:
        """Return the log probability of every token at each position, shape ``(positions, vocabulary)``."""
        if self.sides is None:
            probabilities = np.tile(self.unigram, (len(positions), 1))
        else:
            left, right = (side.predict(rows, positions).get_distributions(self.unigram) for side in self.sides)
            probabilities = left * right * self._inverse_unigram
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):  # special tokens have probability 0
            return np.log(probabilities)

    @property
    def _inverse_unigram(self) -> Floats:
        return np.divide(1.0, self.unigram, out=np.zeros_like(self.unigram), where=self.unigram > 0)

    def _sum_products(self, left: SidePrediction, right: SidePrediction) -> Floats:
        """Return the sum of P(w | L) * P(w | R) / P(w) over all tokens w, for each position.

        The product is expanded into its terms, so that only the tokens that occur in both contexts are enumerated.
        """
        inverse = self._inverse_unigram
        base_products = float((left.counts.base * right.counts.base * inverse).sum())
        total: Floats = left.base_weights * right.base_weights * base_products
        total += left.base_weights * right.sum_observed(left.counts.base * inverse)
        total += right.base_weights * left.sum_observed(right.counts.base * inverse)
        ones = np.ones(len(total))
        for a, a_rows, a_weights in (
            (left.counts.trigrams, left.trigram_rows, ones),
            (left.counts.bigrams, left.bigram_rows, left.bigram_weights),
        ):
            for b, b_rows, b_weights in (
                (right.counts.trigrams, right.trigram_rows, ones),
                (right.counts.bigrams, right.bigram_rows, right.bigram_weights),
            ):
                total += a_weights * b_weights * sum_common_entries(a, a_rows, b, b_rows, inverse)
        return np.where(left.is_unknown | right.is_unknown, 1.0, total)


def _sample_rows(rows: TokenRows, max_tokens: int) -> TokenRows:
    if len(rows.ids) <= max_tokens:
        return rows
    order = np.argsort(rows.keys, kind="stable")
    return rows.take(order[np.cumsum(rows.lengths[order]) <= max_tokens])


def _encode_contexts(rows: TokenRows, positions: Ints, side: int) -> Ints:
    """Return an integer code of the two tokens next to each position on one side.

    Args:
        rows: The rows. A context never crosses the end of a row; positions outside the row
            have the id ``vocabulary.size``.
        positions: Indices in ``rows.ids``.
        side: -1 for the left side, 1 for the right side.
    """
    outside = rows.vocabulary.size
    row_indices = np.searchsorted(rows.offsets, positions, side="right") - 1
    starts, ends = rows.offsets[row_indices], rows.offsets[row_indices + 1]

    def get_neighbors(distance: int) -> Ints:
        neighbors = positions + side * distance
        is_inside = (neighbors >= starts) & (neighbors < ends)
        return np.where(is_inside, rows.ids[np.where(is_inside, neighbors, positions)], outside).astype(np.int64)

    return get_neighbors(2) * (outside + 1) + get_neighbors(1)


def _get_adjacent(contexts: Ints, rows: TokenRows) -> Ints:
    """Return the adjacent token of each context, given the codes from :func:`_encode_contexts`."""
    return contexts % (rows.vocabulary.size + 1)
