"""Compute the vocabulary head on CPUs, where its matmul is limited by memory bandwidth rather than by compute.

The matmul is computed in chunks of the vocabulary that fit into the processor's cache. This avoids a full copy of the
weights in lower precision, and MKL computes several narrow matmuls faster than a single very wide one. The weight
gradient is written to the memory of the previous gradient, because on Linux, allocating 100 MB of new memory takes
longer than the matmul that fills it. If the input embeddings share the weights, the gradient of the embeddings is added
in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from winnow.training.forward import linear_backend

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TiedGradient = list[Tensor]
"""A list of at most one tensor that passes the gradient of tied weights from the vocabulary head to the embeddings."""

_reusable_gradients = WeakTensorKeyDictionary()
"""Reusable gradient memory for each vocabulary head, keyed by the head's weights."""


def compute_vocab_logits(layer: Any, states: Tensor, tied: TiedGradient | None = None) -> Tensor:
    """Return the logits of a vocabulary head, which is a linear layer.

    Under autocast, the inputs of the matmul are cast to lower precision, as in PyTorch.

    Args:
        layer: The linear layer.
        states: The input, shape ``(tokens, inputs)``.
        tied: A list that receives the weight gradient in the backward pass, for :func:`embed_tied`; ``None`` if the
            weights are not tied.

    Returns:
        The logits, shape ``(tokens, outputs)``.
    """
    if states.device.type != "cpu":
        return functional.linear(states, layer.weight, layer.bias)
    logits = linear_backend.apply_prepacked_linear(layer, states)
    if logits is None:
        dtype = linear_backend.matmul_dtype(states)
        logits = _VocabLogitsFunction.apply(states, layer.weight, layer.bias, dtype, tied)  # type: ignore[no-untyped-call]
    return logits


def embed_tied(embeddings: nn.Embedding, ids: Tensor, tied: TiedGradient) -> Tensor:
    """Return token embeddings whose weights are tied to the vocabulary head that uses the same ``tied`` list.

    Autograd would allocate three vocabulary-size gradients: for the head, for the embeddings and for their sum.
    Instead, the backward pass, which reaches the head first, adds the gradients of the few embedded tokens to the
    head's gradient.
    """
    token_embeddings: Tensor = _TiedEmbeddingFunction.apply(  # type: ignore[no-untyped-call]
        embeddings.weight, ids, embeddings.padding_idx, tied
    )
    return token_embeddings


def recycle_head_gradient(model: PreTrainedModel) -> None:
    """Clear the gradient of the head's weights on a CPU, and reuse its memory for the next gradient.

    Do not keep references to the old gradient, because the next backward pass overwrites its values.
    """
    head = model.get_output_embeddings()
    if head is not None and head.weight.device.type == "cpu" and head.weight.grad is not None:
        if not head.weight.grad._is_view():  # a view shares memory, for example with a DDP bucket
            _reusable_gradients[head.weight] = head.weight.grad
        head.weight.grad = None


class _VocabLogitsFunction(torch.autograd.Function):
    """A linear layer with many outputs, computed in chunks of outputs."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, tied: TiedGradient | None
    ) -> Tensor:
        ctx.dtype, ctx.has_bias, ctx.tied = states.dtype, bias is not None, tied
        states = states.to(dtype)
        ctx.save_for_backward(states, weight)
        by_onednn = linear_backend.uses_onednn("forward", weight[: linear_backend.VOCAB_CHUNK_SIZE], states)
        logits = states.new_empty(len(states), len(weight))
        for chunk in _split_vocabulary(weight):
            chunk_bias = None if bias is None else bias[chunk].to(dtype)
            logits[:, chunk] = linear_backend.compute_output(states, weight[chunk].to(dtype), chunk_bias, by_onednn)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        first_chunk = weight[: linear_backend.VOCAB_CHUNK_SIZE]
        states_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            by_onednn = linear_backend.uses_onednn("input_gradient", first_chunk, gradient)
            # Accumulate in float32, so that the sum over the chunks is rounded only once.
            states_gradient = torch.zeros(states.shape, dtype=torch.promote_types(gradient.dtype, torch.float32))
            for chunk in _split_vocabulary(weight):
                chunk_weight = weight[chunk].to(gradient.dtype)
                states_gradient += linear_backend.compute_input_gradient(gradient[:, chunk], chunk_weight, by_onednn)
            states_gradient = states_gradient.to(ctx.dtype)
        if ctx.needs_input_grad[1]:
            by_onednn = linear_backend.uses_onednn("weight_gradient", first_chunk, gradient)
            weight_gradient = _allocate_gradient(weight)
            for chunk in _split_vocabulary(weight):
                weight_gradient[chunk] = linear_backend.compute_weight_gradient(gradient[:, chunk], states, by_onednn)
            if ctx.tied is not None:
                ctx.tied.append(weight_gradient)
                weight_gradient = None
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum(0).to(weight.dtype)
        return states_gradient, weight_gradient, bias_gradient, None, None


class _TiedEmbeddingFunction(torch.autograd.Function):
    """An embedding that adds its gradient to the gradient of the vocabulary head with the same weights."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, tied: TiedGradient) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.padding, ctx.tied = padding, tied
        return functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        if ctx.padding is not None:  # padding tokens have no gradient, as in nn.Embedding
            gradient = gradient.masked_fill(ids.eq(ctx.padding)[:, None], 0)
        return ctx.tied.pop().index_add_(0, ids, gradient), None, None, None


def _split_vocabulary(weight: Tensor) -> Iterator[slice]:
    chunk = linear_backend.VOCAB_CHUNK_SIZE
    return (slice(start, start + chunk) for start in range(0, len(weight), chunk))


def _allocate_gradient(weight: Tensor) -> Tensor:
    """Return memory for the gradient of a head's weights: recycled memory if it fits, otherwise new memory.

    Recycled memory is removed from the dictionary of reusable memory, so that two gradients never share memory.
    """
    recycled_gradient: Tensor | None = _reusable_gradients.pop(weight, None)  # type: ignore[no-untyped-call]
    fits = recycled_gradient is not None and (recycled_gradient.shape, recycled_gradient.dtype) == (
        weight.shape,
        weight.dtype,
    )
    return recycled_gradient if recycled_gradient is not None and fits else torch.empty_like(weight)
