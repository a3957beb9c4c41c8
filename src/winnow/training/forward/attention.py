"""Compute attention over rows without padding; each row attends only to itself, without an attention mask."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LengthGroups = Sequence[tuple[int, int]]
"""The number of rows of each length, as pairs ``(rows, length)``."""


def attend(query: Tensor, key: Tensor, value: Tensor, groups: LengthGroups, head_size: int, dropout: float) -> Tensor:
    """Return the concatenated outputs of all attention heads, before the output projection.

    In half precision on CUDA, FlashAttention processes all rows in a single call if the package ``flash-attn`` is
    installed. Tests cover this path only with a reference implementation on the CPU, not with the package itself.

    Args:
        query: The queries, shape ``(tokens, heads * head_size)``; rows of equal length are adjacent.
        key: The keys, in the same shape as ``query``.
        value: The values, in the same shape as ``query``.
        groups: The number of rows of each length, as pairs ``(rows, length)``.
        head_size: Size of each head.
        dropout: Dropout probability of the attention weights.

    Returns:
        The outputs, shape ``(tokens, heads * head_size)``.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and (flash := load_flash_attention()):
        return _attend_varlen(flash, query, key, value, groups, head_size, dropout)
    # Use `split`, because its backward pass concatenates gradients; slicing allocates a full-size gradient per slice.
    sizes = [rows * length for rows, length in groups]
    split_tensors = (torch.split(tensor, sizes) for tensor in (query, key, value))
    outputs = []
    for (rows, length), *group_tensors in zip(groups, *split_tensors, strict=True):
        queries, keys, values = (tensor.view(rows, length, -1, head_size).transpose(1, 2) for tensor in group_tensors)
        output = _attend_rows(queries, keys, values, dropout)
        outputs.append(output.transpose(1, 2).reshape(rows * length, -1))
    return torch.cat(outputs)


def _attend_rows(queries: Tensor, keys: Tensor, values: Tensor, dropout: float) -> Tensor:
    """Return the attention output of rows of equal length; all tensors have the shape ``(rows, heads, length, size)``.

    In training on a CPU, two of PyTorch's implementations are slow. With dropout, PyTorch checks each row for masked
    scores, although nothing is masked; the same operations without this check give bit-identical outputs and gradients.
    In half precision without dropout, PyTorch's fused kernel takes up to four times as long for short rows.
    """
    is_half = queries.dtype in (torch.float16, torch.bfloat16)
    if queries.device.type != "cpu" or not torch.is_grad_enabled() or not (dropout or is_half):
        return functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
    dtype = queries.dtype
    with torch.autocast("cpu", enabled=False):
        if is_half:
            queries, keys, values = (tensor.float() for tensor in (queries, keys, values))
        scale = math.sqrt(1 / math.sqrt(queries.shape[-1]))  # PyTorch also scales both factors, against overflow
        scores = (queries * scale) @ (keys.transpose(-2, -1) * scale)
        return (functional.dropout(scores.softmax(-1), dropout) @ values).to(dtype)


@functools.cache
def load_flash_attention() -> Callable[..., Any] | None:
    """Return the variable-length attention function from ``flash-attn``, or ``None`` if it is not installed."""
    try:
        from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    function: Callable[..., Any] = flash_attn_varlen_func
    return function


def _attend_varlen(
    flash: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: LengthGroups,
    head_size: int,
    dropout: float,
) -> Tensor:
    lengths = [length for rows, length in groups for _ in range(rows)]
    ends = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(query.device, non_blocking=True)
    heads = (tensor.view(len(tensor), -1, head_size) for tensor in (query, key, value))
    max_length = groups[-1][1]
    output: Tensor = flash(
        *heads,
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=max_length,
        max_seqlen_k=max_length,
        dropout_p=dropout,
    )
    return output.flatten(1)
