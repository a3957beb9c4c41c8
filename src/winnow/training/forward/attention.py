"""Compute attention over rows without padding; each row attends only to itself, without an attention mask."""

from __future__ import annotations

import functools
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
        output = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        outputs.append(output.transpose(1, 2).reshape(rows * length, -1))
    return torch.cat(outputs)


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
