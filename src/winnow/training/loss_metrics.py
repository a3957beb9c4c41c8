"""Loss and perplexity over masked tokens, exact on any number of processes and uneven batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MaskedLoss(Metric):
    """Mean cross entropy of the masked tokens, in nats a token.

    ``sum of token losses / masked tokens``, over all batches and processes: a float64 sum and an int64 count,
    since a mean of batch means weighs tokens unequally. Without a masked token it is NaN.

    >>> loss = MaskedLoss()
    >>> loss.update(torch.tensor(6.0), torch.tensor(3))
    >>> loss.update(torch.tensor(4.0), torch.tensor(1))
    >>> loss.compute()
    tensor(2.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loss_sum: Tensor
        self.masked: Tensor
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("masked", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss_sum: Tensor, masked: Tensor) -> None:
        """Add a batch: the sum of its token losses, and how many there are."""
        self.loss_sum += loss_sum.detach().double()
        self.masked += masked

    def compute(self) -> Tensor:
        """Return the mean as a float64 scalar."""
        return self.loss_sum / self.masked


class Perplexity(MaskedLoss):
    """``exp`` of :class:`MaskedLoss`: the number of equally likely tokens the model is as unsure as.

    To be compared only within one tokenizer and one masking.

    >>> perplexity = Perplexity()
    >>> perplexity.update(torch.tensor(4.0).log() * 2, torch.tensor(2))
    >>> perplexity.compute()
    tensor(4.0000, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Return the perplexity as a float64 scalar."""
        return super().compute().exp()
