"""The efficient forward: the library's own modules on flat tokens, and no arithmetic that the loss does not need.

Left out are padding, since all but attention works on single tokens; rows in which nothing is to be guessed (see
:class:`winnow.training.batch.Batch`); at tokens that are not to be guessed, the last layer but for its keys and values,
and the vocabulary; and, where no gradient is asked for, the first layer's projections of tokens that occur again at the
same position. Each number that remains is the library's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from winnow.training.batch import Batch
from winnow.training.forward.attention import Groups, attend
from winnow.training.forward.linear import linear
from winnow.training.forward.vocab_head import Tied, embed, vocabulary_logits

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
    *layers, last = shape.layers(model)
    ids, positions, masked, groups = _in_few_sizes(batch, shape.positions(model, batch))
    again = None
    if layers and not torch.is_grad_enabled() and not model.training:
        again, first = _equal(ids, positions)
        ids, positions = ids[first], positions[first]
    words, tied = model.get_input_embeddings(), _tied(model)
    embedded = words(ids) if tied is None else embed(words, ids, tied)
    # The embeddings want a dimension of rows; one row holds all tokens, each with its own position.
    states = model.base_model.embeddings(None, inputs_embeds=embedded[None], position_ids=positions[None])[0]
    after_attention = _compiled_after_attention(shape) if _compiled else shape.after_attention

    def through(layer: Part, states: Tensor, again: Tensor | None = None) -> Tensor:
        query, key, value = (linear(part, states) for part in shape.projections(layer))
        if again is not None:
            query, key, value, states = (part.index_select(0, again) for part in (query, key, value, states))
        after: Tensor = after_attention(layer, _attend(shape, layer, query, key, value, groups), states)
        return after

    for layer in layers:
        if getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled():
            states = checkpoint(through, layer, states, use_reentrant=False)
        else:
            states = through(layer, states, again)
            again = None
    to_query, to_key, to_value = shape.projections(last)
    wanted = states.index_select(0, masked)
    asked = _first(linear(to_query, wanted), len(batch.masked))
    query = asked.new_zeros(len(states), asked.shape[1]).index_copy(0, batch.masked, asked)
    context = _attend(shape, last, query, linear(to_key, states), linear(to_value, states), groups)
    states = after_attention(last, context.index_select(0, masked), wanted)
    return _first(shape.head(model, states, tied), len(batch.masked))


def _first(rows: Tensor, count: int) -> Tensor:
    # Going back, a slice fills a tensor anew, even one of all rows.
    return rows if len(rows) == count else rows[:count]


def _in_few_sizes(batch: Batch, positions: Tensor) -> tuple[Tensor, Tensor, Tensor, Groups]:
    """Return a batch's tokens, positions, masked tokens and groups; on a CPU with a few that nobody asks for.

    oneDNN makes a program for each size of a product, which takes time and, over the steps, hundreds of MB; so sizes
    are rounded up, to five binary digits (2% more tokens on the average) or, for the masked ones, on which less
    depends, to four. Tokens are added as rows of one each; masked ones repeat the first, and their logits are cut off.
    """
    ids, masked, groups = batch.input_ids, batch.masked, batch.groups
    if ids.device.type == "cpu" and len(ids):
        ids, positions = (functional.pad(part, (0, _missing(len(part), 5))) for part in (ids, positions))
        masked = functional.pad(masked, (0, _missing(len(masked), 4)))
        if more := len(ids) - len(batch.input_ids):
            groups = (*groups, (more, 1))
    return ids, positions, masked, groups


def _missing(count: int, digits: int) -> int:
    return -count % (1 << max(count.bit_length() - digits, 0))


def _equal(ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each token which of the distinct ones it is, and where each of those stands.

    Until they attend to others, and where nothing is dropped, equal tokens at equal positions are one and the same;
    prompts made from templates are full of them.
    """
    distinct, again = torch.unique(ids * (positions.max() + 1) + positions, return_inverse=True)
    first = torch.empty_like(distinct).scatter_(0, again, torch.arange(len(ids), device=ids.device))
    return again, first


def _tied(model: Part) -> Tied | None:
    """Return where the head leaves the gradient of weights that the embedding shares, or ``None`` if it shares none.

    CUDA adds rows in no fixed order, so there the two are left to autograd.
    """
    weight = model.get_input_embeddings().weight
    return [] if model.get_output_embeddings().weight is weight and weight.device.type == "cpu" else None


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
        if "forward" in vars(module) or any(getattr(module, hooks) for hooks in _HOOKS):
            return f"{path or name} has a hook or a forward of its own"
    return None


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def compile_layers(wanted: bool) -> None:
    """Let this process compile what a layer does after its attention, or leave it as it is."""
    global _compiled
    _compiled = wanted


_compiled = False


@functools.cache
def _compiled_after_attention(shape: _DistilBert | _Bert) -> Callable[..., Tensor]:
    # One graph for all layers and any number of tokens.
    made: Callable[..., Tensor] = torch.compile(shape.after_attention, dynamic=True)
    return made


def _attend(
    shape: _DistilBert | _Bert, layer: Part, query: Tensor, key: Tensor, value: Tensor, groups: Groups
) -> Tensor:
    attention = shape.attention(layer)
    dropout = attention.dropout.p if attention.training else 0.0
    return attend(query, key, value, groups, attention.attention_head_size, dropout)


class _DistilBert:
    """Where DistilBERT keeps its parts, and what it does around them."""

    def layers(self, model: Part) -> Sequence[Part]:
        found: Sequence[Part] = model.distilbert.transformer.layer
        return found

    def positions(self, model: Part, batch: Batch) -> Tensor:
        return batch.positions

    def attention(self, layer: Part) -> Part:
        return layer.attention

    def projections(self, layer: Part) -> tuple[Part, Part, Part]:
        return layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin

    def after_attention(self, layer: Part, context: Tensor, states: Tensor) -> Tensor:
        states = layer.sa_layer_norm(linear(layer.attention.out_lin, context) + states)
        inner = layer.ffn.activation(linear(layer.ffn.lin1, states))
        after: Tensor = layer.output_layer_norm(layer.ffn.dropout(linear(layer.ffn.lin2, inner)) + states)
        return after

    def head(self, model: Part, states: Tensor, tied: Tied | None) -> Tensor:
        states = model.activation(linear(model.vocab_transform, states))
        return vocabulary_logits(model.vocab_projector, model.vocab_layer_norm(states), tied)


class _Bert:
    """Where BERT keeps its parts; its token types are all 0, as the library has it where none are given."""

    def layers(self, model: Part) -> Sequence[Part]:
        found: Sequence[Part] = model.base_model.encoder.layer
        return found

    def positions(self, model: Part, batch: Batch) -> Tensor:
        return batch.positions

    def attention(self, layer: Part) -> Part:
        return layer.attention.self

    def projections(self, layer: Part) -> tuple[Part, Part, Part]:
        attention = layer.attention.self
        return attention.query, attention.key, attention.value

    def after_attention(self, layer: Part, context: Tensor, states: Tensor) -> Tensor:
        states = self._output(layer.attention.output, context, states)
        inner = layer.intermediate.intermediate_act_fn(linear(layer.intermediate.dense, states))
        return self._output(layer.output, inner, states)

    def _output(self, part: Part, states: Tensor, before: Tensor) -> Tensor:
        made: Tensor = part.LayerNorm(part.dropout(linear(part.dense, states)) + before)
        return made

    def head(self, model: Part, states: Tensor, tied: Tied | None) -> Tensor:
        head = model.cls.predictions
        transformed = head.transform.transform_act_fn(linear(head.transform.dense, states))
        return vocabulary_logits(head.decoder, head.transform.LayerNorm(transformed), tied)


class _Roberta(_Bert):
    """BERT's parts with another head, and positions that are counted from the padding id."""

    def positions(self, model: Part, batch: Batch) -> Tensor:
        padding: int = model.roberta.embeddings.padding_idx
        counts = batch.input_ids.ne(padding).long()  # a padding token within a row is not counted
        before = counts.cumsum(0) - counts
        first = torch.arange(len(before), device=before.device) - batch.positions
        return padding + counts * (1 + before - before[first])

    def head(self, model: Part, states: Tensor, tied: Tied | None) -> Tensor:
        head = model.lm_head
        transformed = functional.gelu(linear(head.dense, states))
        return vocabulary_logits(head.decoder, head.layer_norm(transformed), tied)


SHAPES: dict[str, _DistilBert | _Bert] = {
    "DistilBertForMaskedLM": _DistilBert(),
    "BertForMaskedLM": _Bert(),
    "RobertaForMaskedLM": _Roberta(),
}
"""The architectures whose parts are known, by the name of the library's class."""
