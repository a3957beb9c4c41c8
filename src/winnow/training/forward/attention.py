"""Attention over flat tokens: each row attends to itself, and nothing is padded or masked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Groups = Sequence[tuple[int, int]]
"""How many rows there are of each length: pairs ``(rows, length)``."""


def attend(query: Tensor, key: Tensor, value: Tensor, groups: Groups, head_size: int, dropout: float) -> Tensor:
    """Return what the heads found, not projected yet.

    On CUDA in half precision flash attention takes all rows at once, where the package `flash-attn` is installed. That
    route could not be run on the machines that Winnow was measured on.

    Args:
        query: Shape ``(tokens, heads * head_size)``, rows of equal length side by side; so are key and value.
        key: As `query`.
        value: As `query`.
        groups: How many rows there are of each length.
        head_size: Width of a head.
        dropout: Chance of an attention weight to be dropped.

    Returns:
        Shape ``(tokens, heads * head_size)``.
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and (flash := flash_attention()):
        return _all_at_once(flash, query, key, value, groups, head_size, dropout)
    # `split` joins the gradients of all groups in one go; with slices each would fill a tensor of all tokens.
    sizes = [rows * length for rows, length in groups]
    parts = (torch.split(part, sizes) for part in (query, key, value))
    found = []
    for (rows, length), *one in zip(groups, *parts, strict=True):
        queries, keys, values = (part.view(rows, length, -1, head_size).transpose(1, 2) for part in one)
        context = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
        found.append(context.transpose(1, 2).reshape(rows * length, -1))
    return torch.cat(found)


@functools.cache
def flash_attention() -> Callable[..., Any] | None:
    """Return the variable-length attention of the package `flash-attn`, or ``None`` where it is not installed."""
    try:
        from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return None
    found: Callable[..., Any] = flash_attn_varlen_func
    return found


def _all_at_once(
    flash: Callable[..., Any], query: Tensor, key: Tensor, value: Tensor, groups: Groups, head_size: int, dropout: float
) -> Tensor:
    lengths = [length for rows, length in groups for _ in range(rows)]
    ends = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(query.device, non_blocking=True)
    heads = (part.view(len(part), -1, head_size) for part in (query, key, value))
    longest = groups[-1][1]
    context: Tensor = flash(
        *heads,
        cu_seqlens_q=ends,
        cu_seqlens_k=ends,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        dropout_p=dropout,
    )
    return context.flatten(1)
