"""Metrics of masked-token prediction as torchmetrics: exact on any number of processes, usable alone.

All keep sums in float64 and counts in int64, and add them up over processes, so that uneven shares change nothing. Put
several into a `MetricCollection` with `compute_groups=False`: otherwise it treats two of one class as the same metric.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from winnow.training.loss_metrics import MaskedLoss, Perplexity, RatioMetric

__all__ = ["CalibrationError", "MaskedLoss", "MeanReciprocalRank", "Perplexity", "PseudoPerplexity", "TopK"]


class TopK(RatioMetric):
    """Share of the masked tokens that are among the model's first ``k`` predictions, from 0 to 1.

    ``(number of tokens with rank <= k) / tokens``, where the rank is 1 plus the number of tokens of the vocabulary that
    the model finds more likely. Without a token it is NaN.

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
        """Add tokens: the rank of each from 1, shape ``(tokens,)``."""
        self.add((ranks <= self.k).sum(), ranks.numel())


class MeanReciprocalRank(RatioMetric):
    """Mean of ``1 / rank`` over the masked tokens, from 0 to 1 (Voorhees 1999, TREC-8).

    :class:`TopK` counts hits; this metric also distinguishes rank 2 from rank 100. Without a token it is NaN.

    >>> mrr = MeanReciprocalRank()
    >>> mrr.update(torch.tensor([1, 2, 4]))
    >>> mrr.compute()
    tensor(0.5833, dtype=torch.float64)
    """

    higher_is_better = True

    def update(self, ranks: Tensor) -> None:
        """Add tokens: the rank of each from 1, shape ``(tokens,)``."""
        self.add(ranks.double().reciprocal().sum(), ranks.numel())


class CalibrationError(Metric):
    """Expected calibration error at masks, from 0 to 1 (Naeini et al. 2015; Guo et al. 2017).

    ``sum over bins of tokens in bin / tokens * |share of hits in bin - mean confidence in bin|``, where the confidence
    is the probability of the model's first prediction and a hit is a first prediction that is right. Bins are of equal
    width; a confidence on an edge belongs to the lower bin. Without a token it is NaN.

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
        """Add tokens: the probability of each first prediction, and whether it is right, shape ``(tokens,)`` both."""
        confidences = confidences.double()
        places = ((confidences * self.bins).ceil().long() - 1).clamp(0, self.bins - 1)
        self.confidence.index_add_(0, places, confidences)
        self.hits.index_add_(0, places, hits.long())
        self.tokens.index_add_(0, places, torch.ones_like(places))

    def compute(self) -> Tensor:
        """Return the error as a float64 scalar."""
        return (self.hits - self.confidence).abs().sum() / self.tokens.sum()


class PseudoPerplexity(RatioMetric):
    """``exp(- sum of pseudo-log-likelihoods / tokens)`` over texts (Salazar et al. 2020).

    At least 1; the number of equally likely tokens the model is as unsure as, each token given all others. Comparable
    only within one tokenizer, and not with :class:`Perplexity`, which masks 15% of the tokens at once. Without a token
    it is NaN.

    >>> perplexity = PseudoPerplexity()
    >>> perplexity.update(torch.tensor([-2.0, -4.0]).double(), torch.tensor([2, 1]))
    >>> perplexity.compute()
    tensor(7.3891, dtype=torch.float64)
    """

    def update(self, log_likelihoods: Tensor, tokens: Tensor) -> None:
        """Add texts: the pseudo-log-likelihood of each in nats, and its tokens, shape ``(texts,)`` both."""
        self.add(-log_likelihoods.double().sum(), tokens.sum())

    def compute(self) -> Tensor:
        """Return the perplexity as a float64 scalar."""
        return super().compute().exp()
