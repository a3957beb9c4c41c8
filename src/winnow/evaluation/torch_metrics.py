"""Torchmetrics classes for masked-token prediction that are exact on any number of processes.

All metrics keep float64 sums and int64 counts, which are summed across processes, so results do not depend on how the
tokens are sharded. In a ``MetricCollection``, set ``compute_groups=False``; otherwise torchmetrics
treats two instances of the same class as one metric.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from winnow.training.loss_metrics import MaskedLoss, Perplexity, RatioMetric

__all__ = ["CalibrationError", "MaskedLoss", "MeanReciprocalRank", "Perplexity", "PseudoPerplexity", "TopK"]


class TopK(RatioMetric):
    """Fraction of masked tokens that are among the model's top ``k`` predictions, from 0 to 1.

    ``(number of tokens with rank <= k) / tokens``. The rank of a token is 1 plus the number of vocabulary tokens with a
    higher probability. The metric is NaN if there are no tokens.

    >>> top = TopK(k=2)
    >>> top.update(torch.tensor([1, 2, 3, 9]))
    >>> top.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k

    def update(self, ranks: Tensor) -> None:
        """Add the ranks of tokens, from 1, shape ``(tokens,)``."""
        self.add((ranks <= self.k).sum(), ranks.numel())


class MeanReciprocalRank(RatioMetric):
    """Mean of ``1 / rank`` across masked tokens, from 0 to 1 (Voorhees 1999, TREC-8).

    Unlike :class:`TopK`, this metric distinguishes rank 2 from rank 100. The metric is NaN if there are no tokens.

    >>> mrr = MeanReciprocalRank()
    >>> mrr.update(torch.tensor([1, 2, 4]))
    >>> mrr.compute()
    tensor(0.5833, dtype=torch.float64)
    """

    higher_is_better = True

    def update(self, ranks: Tensor) -> None:
        """Add the ranks of tokens, from 1, shape ``(tokens,)``."""
        self.add(ranks.double().reciprocal().sum(), ranks.numel())


class CalibrationError(Metric):
    """Expected calibration error of masked-token predictions, from 0 to 1 (Naeini et al. 2015; Guo et al. 2017).

    The formula is ``sum over bins of tokens in bin / tokens * |accuracy in bin - mean confidence in bin|``. The
    confidence is the probability of the model's top prediction, and the accuracy is the fraction of correct top
    predictions. Bins have equal width, and a confidence on an edge belongs to the lower bin. The metric is NaN if
    there are no tokens.

    >>> error = CalibrationError(bins=2)
    >>> error.update(torch.tensor([0.9, 0.7, 0.2]), torch.tensor([True, False, False]))
    >>> error.compute()
    tensor(0.2667, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, bins: int = 15, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins
        self.confidence: Tensor
        self.hits: Tensor
        self.tokens: Tensor
        self.add_state("confidence", torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("hits", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, confidences: Tensor, hits: Tensor) -> None:
        """Add the confidences of tokens and whether the top predictions are correct, both of shape ``(tokens,)``."""
        confidences = confidences.double()
        indices = ((confidences * self.bins).ceil().long() - 1).clamp(0, self.bins - 1)
        self.confidence.index_add_(0, indices, confidences)
        self.hits.index_add_(0, indices, hits.long())
        self.tokens.index_add_(0, indices, torch.ones_like(indices))

    def compute(self) -> Tensor:
        """Return the calibration error as a float64 scalar."""
        return (self.hits - self.confidence).abs().sum() / self.tokens.sum()


class PseudoPerplexity(RatioMetric):
    """``exp(- sum of pseudo-log-likelihoods / tokens)`` across texts, at least 1 (Salazar et al. 2020).

    A value of n means that the model is as uncertain about a token, given all other tokens, as about a choice between n
    equally likely tokens. Values are comparable only between models with the same tokenizer. They are not comparable
    with :class:`Perplexity`, which masks 15% of the tokens at once. The metric is NaN if there are no tokens.

    >>> perplexity = PseudoPerplexity()
    >>> perplexity.update(torch.tensor([-2.0, -4.0]).double(), torch.tensor([2, 1]))
    >>> perplexity.compute()
    tensor(7.3891, dtype=torch.float64)
    """

    def update(self, log_likelihoods: Tensor, tokens: Tensor) -> None:
        """Add the pseudo-log-likelihoods of texts, in nats, and their token counts, both of shape ``(texts,)``."""
        self.add(-log_likelihoods.double().sum(), tokens.sum())

    def compute(self) -> Tensor:
        """Return the perplexity as a float64 scalar."""
        return super().compute().exp()
