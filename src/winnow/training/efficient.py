"""The efficient forward: the library's own modules on flat tokens, and no arithmetic that the loss does not need.

Three things are left out: padding, since all but attention works on single tokens; the last layer behind its attention
where nothing is to be guessed; and the vocabulary there. Each number that remains is the library's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from winnow.training.batch import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Part = Any
"""A module of the library; what it holds has no types."""


def efficient_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the logits at the masked tokens.

    Args:
        model: A model to which there is no :func:`obstacle`.
        batch: Masked rows.

    Returns:
        Shape ``(masked, vocabulary)``, in the order of ``batch.masked``.
    """
    shape = SHAPES[type(model).__name__]
    positions = shape.positions(model, batch)
    # The embeddings want a dimension of rows; one row holds all tokens, each with its own position.
    states = model.base_model.embeddings(input_ids=batch.input_ids[None], position_ids=positions[None])[0]
    *layers, last = shape.layers(model)
    for layer in layers:
        states = shape.after_attention(layer, _attend(shape, layer, states, batch.groups), states)
    context = _attend(shape, last, states, batch.groups).index_select(0, batch.masked)
    states = shape.after_attention(last, context, states.index_select(0, batch.masked))
    return shape.head(model, states)


def obstacle(model: PreTrainedModel) -> str | None:
    """Return why a model must be called as a whole, or ``None`` if the efficient forward gives its numbers."""
    name = type(model).__name__
    if name not in SHAPES or not type(model).__module__.startswith("transformers."):
        return f"its class is {name}"
    config = model.config
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "it is set up as a decoder"
    if config.chunk_size_feed_forward:
        return "it cuts the feed-forward part into chunks"
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"its attention is {config._attn_implementation!r}"
    for path, module in model.named_modules():
        if not type(module).__module__.startswith(("torch.nn.", "transformers.")):
            return f"{path} is a {type(module).__name__}"
        if getattr(module, "gradient_checkpointing", False):
            return "it forgets activations and computes them again (gradient checkpointing)"
        if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS):
            return f"{path or name} has a hook or a forward of its own"
    return None


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _attend(shape: _DistilBert | _Bert, layer: Part, states: Tensor, groups: Sequence[tuple[int, int]]) -> Tensor:
    """Let each row attend to itself, all rows of a length at once, so that there is nothing to mask.

    Args:
        shape: The layer's architecture.
        layer: The library's layer.
        states: Shape ``(tokens, width)``, rows of equal length side by side.
        groups: How many rows there are of each length.

    Returns:
        What the heads found, not projected yet; shape ``(tokens, heads * size)``.
    """
    attention = shape.attention(layer)
    dropout: float = attention.dropout.p if attention.training else 0.0
    # `split` joins the gradients of all groups in one go; with slices each would fill a tensor of all tokens.
    sizes = [rows * length for rows, length in groups]
    projected = (torch.split(part, sizes) for part in shape.projections(attention, states))
    found = []
    for (rows, length), *parts in zip(groups, *projected, strict=True):
        query, key, value = (
            part.view(rows, length, -1, attention.attention_head_size).transpose(1, 2) for part in parts
        )
        context = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        found.append(context.transpose(1, 2).reshape(rows * length, -1))
    return torch.cat(found)


class _DistilBert:
    """Where DistilBERT keeps its parts, and what it does around them."""

    def layers(self, model: Part) -> Sequence[Part]:
        found: Sequence[Part] = model.distilbert.transformer.layer
        return found

    def positions(self, model: Part, batch: Batch) -> Tensor:
        return batch.positions

    def attention(self, layer: Part) -> Part:
        return layer.attention

    def projections(self, attention: Part, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return attention.q_lin(states), attention.k_lin(states), attention.v_lin(states)

    def after_attention(self, layer: Part, context: Tensor, states: Tensor) -> Tensor:
        states = layer.sa_layer_norm(layer.attention.out_lin(context) + states)
        after: Tensor = layer.output_layer_norm(layer.ffn(states) + states)
        return after

    def head(self, model: Part, states: Tensor) -> Tensor:
        states = model.activation(model.vocab_transform(states))
        logits: Tensor = model.vocab_projector(model.vocab_layer_norm(states))
        return logits


class _Bert:
    """Where BERT keeps its parts; its token types are all 0, as the library has it where none are given."""

    def layers(self, model: Part) -> Sequence[Part]:
        found: Sequence[Part] = model.base_model.encoder.layer
        return found

    def positions(self, model: Part, batch: Batch) -> Tensor:
        return batch.positions

    def attention(self, layer: Part) -> Part:
        return layer.attention.self

    def projections(self, attention: Part, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return attention.query(states), attention.key(states), attention.value(states)

    def after_attention(self, layer: Part, context: Tensor, states: Tensor) -> Tensor:
        states = layer.attention.output(context, states)
        after: Tensor = layer.output(layer.intermediate(states), states)
        return after

    def head(self, model: Part, states: Tensor) -> Tensor:
        logits: Tensor = model.cls(states)
        return logits


class _Roberta(_Bert):
    """BERT's parts with another head, and positions that are counted from the padding id."""

    def positions(self, model: Part, batch: Batch) -> Tensor:
        padding: int = model.roberta.embeddings.padding_idx
        counts = batch.input_ids.ne(padding).long()  # a padding token within a row is not counted
        before = counts.cumsum(0) - counts
        first = torch.arange(len(before), device=before.device) - batch.positions
        return padding + counts * (1 + before - before[first])

    def head(self, model: Part, states: Tensor) -> Tensor:
        logits: Tensor = model.lm_head(states)
        return logits


SHAPES: dict[str, _DistilBert | _Bert] = {
    "DistilBertForMaskedLM": _DistilBert(),
    "BertForMaskedLM": _Bert(),
    "RobertaForMaskedLM": _Roberta(),
}
"""The architectures whose parts are known, by the name of the library's class."""
