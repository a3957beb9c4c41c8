"""Compute the logits of masked tokens with a model's own modules, but without unnecessary computation.

The efficient forward pass skips the following, without changing the logits of the masked tokens:

- padding, because all layers except attention process tokens independently;
- rows without masked tokens (see :class:`winnow.training.masked_batch.MaskedBatch`);
- for unmasked tokens, the vocabulary head and the last layer except its keys and values;
- in inference, duplicate first-layer projections of identical tokens at the same position.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from winnow.training.forward.architectures import Architecture, LibraryModule, find_architectures
from winnow.training.forward.attention import LengthGroups, attend
from winnow.training.forward.linear_backend import apply_linear
from winnow.training.forward.vocab_head import TiedGradient, embed_tied
from winnow.training.masked_batch import MaskedBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def compute_efficient_logits(model: PreTrainedModel, batch: MaskedBatch) -> Tensor:
    """Return the logits of the masked tokens.

    Args:
        model: A model for which :func:`unsupported_reason` returns ``None``.
        batch: The masked rows.

    Returns:
        The logits, shape ``(masked, vocabulary)``, in the order of ``batch.masked_indices``.
    """
    architecture = find_architectures()[type(model).__name__]
    *layers, last_layer = architecture.layers(model)
    ids, positions, masked, groups = _pad_to_few_sizes(batch, architecture.position_ids(model, batch))
    inverse = None
    if layers and not torch.is_grad_enabled() and not model.training:
        inverse, unique_indices = _find_duplicates(ids, positions)
        ids, positions = ids[unique_indices], positions[unique_indices]
    word_embeddings, tied = model.get_input_embeddings(), _create_tied_gradient(model)
    token_embeddings = word_embeddings(ids) if tied is None else embed_tied(word_embeddings, ids, tied)
    # The embedding module expects a batch dimension, so all tokens form a single row with explicit position ids.
    states = model.base_model.embeddings(None, inputs_embeds=token_embeddings[None], position_ids=positions[None])[0]
    after_attention = (
        _compile_after_attention(architecture) if _is_layer_compilation_enabled else architecture.after_attention
    )

    def run_layer(layer: LibraryModule, states: Tensor, inverse: Tensor | None = None) -> Tensor:
        query, key, value = (apply_linear(projection, states) for projection in architecture.projections(layer))
        if inverse is not None:
            query, key, value, states = (tensor.index_select(0, inverse) for tensor in (query, key, value, states))
        output: Tensor = after_attention(
            layer, _apply_attention(architecture, layer, query, key, value, groups), states
        )
        return output

    for layer in layers:
        if getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled():
            states = checkpoint(run_layer, layer, states, use_reentrant=False)
        else:
            states = run_layer(layer, states, inverse)
            inverse = None
    to_query, to_key, to_value = architecture.projections(last_layer)
    masked_states = states.index_select(0, masked)
    masked_query = _truncate(apply_linear(to_query, masked_states), len(batch.masked_indices))
    query = masked_query.new_zeros(len(states), masked_query.shape[1]).index_copy(0, batch.masked_indices, masked_query)
    context = _apply_attention(
        architecture, last_layer, query, apply_linear(to_key, states), apply_linear(to_value, states), groups
    )
    states = after_attention(last_layer, context.index_select(0, masked), masked_states)
    return _truncate(architecture.head(model, states, tied), len(batch.masked_indices))


def _truncate(rows: Tensor, count: int) -> Tensor:
    # Don't slice when all rows are used: the backward pass of a slice always allocates a new tensor.
    return rows if len(rows) == count else rows[:count]


def _pad_to_few_sizes(batch: MaskedBatch, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, LengthGroups]:
    """Return a batch's tokens, position ids, masked indices and length groups; on a CPU, pad them to a few sizes.

    oneDNN compiles and caches a kernel for each matmul size, which takes time and, over many steps, hundreds of MB.
    The number of tokens is therefore rounded up to five significant binary digits (2% more tokens on average), and the
    number of masked tokens is rounded up to four digits. Each padding token becomes a row of length one. Each padding
    index refers to the first token, and the caller drops the logits of padding indices.
    """
    ids, masked, groups = batch.input_ids, batch.masked_indices, batch.length_groups
    if ids.device.type == "cpu" and len(ids):
        padding = _count_padding(len(ids), 5)
        ids, positions = (functional.pad(tensor, (0, padding)) for tensor in (ids, positions))
        masked = functional.pad(masked, (0, _count_padding(len(masked), 4)))
        if padding:
            groups = (*groups, (padding, 1))
    return ids, positions, masked, groups


def _count_padding(count: int, digits: int) -> int:
    """Return the number to add to a count to round it up to the given number of significant binary digits."""
    return -count % (1 << max(count.bit_length() - digits, 0))


def _find_duplicates(ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse indices of the unique (token, position) pairs, and the index of one occurrence of each pair.

    Before the first attention layer, and without dropout, identical tokens at the same position have identical hidden
    states. Prompts built from templates contain many such tokens.
    """
    unique_pairs, inverse = torch.unique(ids * (positions.max() + 1) + positions, return_inverse=True)
    unique_indices = torch.empty_like(unique_pairs).scatter_(0, inverse, torch.arange(len(ids), device=ids.device))
    return inverse, unique_indices


def _create_tied_gradient(model: LibraryModule) -> TiedGradient | None:
    """Return an empty gradient store if the embeddings and the vocabulary head share weights on a CPU, else ``None``.

    On CUDA, the additions in :func:`embed_tied` would have no fixed order, so autograd handles tied weights.
    """
    weight = model.get_input_embeddings().weight
    return [] if model.get_output_embeddings().weight is weight and weight.device.type == "cpu" else None


def unsupported_reason(model: PreTrainedModel) -> str | None:
    """Return the reason why the efficient forward pass does not support a model, or ``None`` if it is supported."""
    name = type(model).__name__
    if name not in find_architectures() or not type(model).__module__.startswith("transformers."):
        return f"its class is {name}"
    config = model.config
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "it is configured as a decoder"
    if config.chunk_size_feed_forward:
        return "its feed-forward layers are chunked"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention implementation is {config._attn_implementation!r}"
    for path, module in model.named_modules():
        if not type(module).__module__.startswith(("torch.nn.", "transformers.")):
            return f"{path} is a {type(module).__name__}"
        if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOK_ATTRIBUTES):
            return f"{path or name} has a hook or a replaced forward method"
    return None


_HOOK_ATTRIBUTES = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def set_layer_compilation(enabled: bool) -> None:
    """Enable or disable compilation of each layer's modules after attention, for the current process."""
    global _is_layer_compilation_enabled
    _is_layer_compilation_enabled = enabled


_is_layer_compilation_enabled = False


@functools.cache
def _compile_after_attention(architecture: Architecture) -> Callable[..., Tensor]:
    # A single graph with dynamic shapes works for all layers and any number of tokens.
    compiled: Callable[..., Tensor] = torch.compile(architecture.after_attention, dynamic=True)
    return compiled


def _apply_attention(
    architecture: Architecture,
    layer: LibraryModule,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: LengthGroups,
) -> Tensor:
    attention = architecture.attention(layer)
    dropout = attention.dropout.p if attention.training else 0.0
    return attend(query, key, value, groups, attention.attention_head_size, dropout)
