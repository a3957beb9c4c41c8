"""The vocabulary head on a CPU: a product so large that memory takes more of its time than arithmetic.

It is computed in pieces of the vocabulary that stay in the processor's cache: no second copy of the weights is made
where their factors are rounded, and MKL is faster at several narrow products than at a very wide one. The gradient of
its weights is written where the one before lay, since Linux takes longer to hand out 100 MB of new memory than the
arithmetic needs to fill it. Where the embedding shares the weights, its gradient is added there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from winnow.training.forward import linear as linears

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Tied = list[Tensor]
"""Holds the gradient of tied weights between the two places that use them."""

_used = WeakTensorKeyDictionary()
"""For the weights of a head the memory of a gradient that nobody reads any more."""


def vocabulary_logits(layer: Any, states: Tensor, tied: Tied | None = None) -> Tensor:
    """Return the logits that a vocabulary head, a linear layer, gives states of shape ``(tokens, inputs)``.

    Under autocast the factors of its products are rounded as PyTorch rounds them. With `tied` the gradient of its
    weights goes there, for :func:`embed` to hand on.
    """
    if states.device.type != "cpu":
        return functional.linear(states, layer.weight, layer.bias)
    made = linears.by_laid_out_weights(layer, states)
    if made is None:
        factors = linears.factors(states)
        made = _Logits.apply(states, layer.weight, layer.bias, factors, tied)  # type: ignore[no-untyped-call]
    return made


def embed(words: nn.Embedding, ids: Tensor, tied: Tied) -> Tensor:
    """Return embeddings whose weights are those of the head that :func:`vocabulary_logits` was given `tied` for.

    Autograd would make the gradient of either use, each as large as the vocabulary, and a third for their sum. Going
    back, the vocabulary head comes first, so its gradient is kept and the few rows of the embedding are added there.
    """
    made: Tensor = _Embedding.apply(words.weight, ids, words.padding_idx, tied)  # type: ignore[no-untyped-call]
    return made


def reuse_gradient(model: PreTrainedModel) -> None:
    """Let go of the gradient of a head's weights on a CPU, and let the next one be written where it lies.

    Whoever still holds it will see it change.
    """
    head = model.get_output_embeddings()
    if head is not None and head.weight.device.type == "cpu" and head.weight.grad is not None:
        if not head.weight.grad._is_view():  # else the memory is somebody's, such as a bucket of DDP
            _used[head.weight] = head.weight.grad
        head.weight.grad = None


class _Logits(torch.autograd.Function):
    """A linear layer with many outputs, computed some outputs at a time."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, factors: torch.dtype, tied: Tied | None
    ) -> Tensor:
        ctx.dtype, ctx.has_bias, ctx.tied = states.dtype, bias is not None, tied
        states = states.to(factors)
        ctx.save_for_backward(states, weight)
        takes = linears.takes_onednn("forward", weight[: linears.PIECE], states)
        made = states.new_empty(len(states), len(weight))
        for piece in _pieces(weight):
            of_piece = None if bias is None else bias[piece].to(factors)
            made[:, piece] = linears.output(states, weight[piece].to(factors), of_piece, takes)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        first = weight[: linears.PIECE]
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            takes = linears.takes_onednn("input_gradient", first, gradient)
            # The sum over the pieces is not rounded at each.
            of_states = torch.zeros(states.shape, dtype=torch.promote_types(gradient.dtype, torch.float32))
            for piece in _pieces(weight):
                factor = weight[piece].to(gradient.dtype)
                of_states += linears.input_gradient(gradient[:, piece], factor, takes)
            of_states = of_states.to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            takes = linears.takes_onednn("weight_gradient", first, gradient)
            of_weight = _memory_of_gradient(weight)
            for piece in _pieces(weight):
                of_weight[piece] = linears.weight_gradient(gradient[:, piece], states, takes)
            if ctx.tied is not None:
                ctx.tied.append(of_weight)
                of_weight = None
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum(0).to(weight.dtype)
        return of_states, of_weight, of_bias, None, None


class _Embedding(torch.autograd.Function):
    """An embedding that adds its gradient to that which the head of the same weights has left."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, tied: Tied) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.padding, ctx.tied = padding, tied
        return functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        if ctx.padding is not None:  # as in the library, a padding token leaves its weights alone
            gradient = gradient.masked_fill(ids.eq(ctx.padding)[:, None], 0)
        return ctx.tied.pop().index_add_(0, ids, gradient), None, None, None


def _pieces(weight: Tensor) -> Iterator[slice]:
    return (slice(start, start + linears.PIECE) for start in range(0, len(weight), linears.PIECE))


def _memory_of_gradient(weight: Tensor) -> Tensor:
    """Return memory for the gradient of a head's weights; taken out, so that no two gradients lie in one place."""
    used: Tensor | None = _used.pop(weight, None)  # type: ignore[no-untyped-call]
    fits = used is not None and (used.shape, used.dtype) == (weight.shape, weight.dtype)
    return used if used is not None and fits else torch.empty_like(weight)
