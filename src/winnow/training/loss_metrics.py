"""Metrics for the loss and perplexity of masked tokens, exact for uneven batches and any number of processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class RatioMetric(Metric):
    """A sum divided by a count, across all batches and processes; NaN if the count is 0.

    The float64 sum and the int64 count are each summed across processes, so that uneven batches do not bias the result;
    a mean of batch means would weight tokens unequally. Subclasses define ``update``, which calls :meth:`add`.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.total: Tensor
        self.count: Tensor
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, total: Tensor, count: Tensor | int) -> None:
        """Add a partial sum and a partial count."""
        self.total += total.detach().double()
        self.count += count

    def compute(self) -> Tensor:
        """Return the ratio as a float64 scalar."""
        return self.total / self.count


class MaskedLoss(RatioMetric):
    """Mean cross-entropy of the masked tokens, in nats per token; NaN if there are no masked tokens.

    >>> loss = MaskedLoss()
    >>> loss.update(torch.tensor(6.0), torch.tensor(3))
    >>> loss.update(torch.tensor(4.0), torch.tensor(1))
    >>> loss.compute()
    tensor(2.5000, dtype=torch.float64)
    """

    def update(self, loss_sum: Tensor, masked: Tensor) -> None:
        """Add a batch's sum of token losses and its number of masked tokens."""
        self.add(loss_sum, masked)


class Perplexity(MaskedLoss):
    """The exponential of :class:`MaskedLoss`.

    Perplexities are comparable only if they were computed with the same tokenizer and the same masking.

    >>> perplexity = Perplexity()
    >>> perplexity.update(torch.tensor(4.0).log() * 2, torch.tensor(2))
    >>> perplexity.compute()
    tensor(4.0000, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Return the perplexity as a float64 scalar."""
        return super().compute().exp()
