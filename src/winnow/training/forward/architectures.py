"""Locate the layers, projections and vocabulary head in each supported model architecture.

Installed packages can add an architecture through an entry point in the group ``winnow.forward``. The entry point's
name is the name of a transformers model class, and its value is an instance of an :class:`Architecture` subclass.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from winnow.errors import WinnowError
from winnow.training.forward.linear_backend import apply_linear
from winnow.training.forward.vocab_head import TiedGradient, compute_vocab_logits
from winnow.training.masked_batch import MaskedBatch

ENTRY_POINT_GROUP: Final = "winnow.forward"

LibraryModule = Any
"""A module from transformers, whose attributes have no static types."""


class Architecture(ABC):
    """Interface to the modules of a model architecture, which are applied to flat tokens without padding."""

    @abstractmethod
    def layers(self, model: LibraryModule) -> Sequence[LibraryModule]:
        """Return the encoder layers, in order."""

    @abstractmethod
    def position_ids(self, model: LibraryModule, batch: MaskedBatch) -> Tensor:
        """Return the position id of each token, shape ``(tokens,)``."""

    @abstractmethod
    def attention(self, layer: LibraryModule) -> LibraryModule:
        """Return the attention module, which has the attributes ``dropout`` and ``attention_head_size``."""

    @abstractmethod
    def projections(self, layer: LibraryModule) -> tuple[LibraryModule, LibraryModule, LibraryModule]:
        """Return the query, key and value projections."""

    @abstractmethod
    def after_attention(self, layer: LibraryModule, context: Tensor, states: Tensor) -> Tensor:
        """Return the output of a layer, given its attention output and its input, both of shape ``(tokens, width)``."""

    @abstractmethod
    def head(self, model: LibraryModule, states: Tensor, tied: TiedGradient | None) -> Tensor:
        """Return the logits of the masked tokens, shape ``(masked, vocabulary)``, given their hidden states."""


class DistilBertArchitecture(Architecture):
    """The DistilBERT architecture."""

    def layers(self, model: LibraryModule) -> Sequence[LibraryModule]:
        """Return the encoder layers."""
        layers: Sequence[LibraryModule] = model.distilbert.transformer.layer
        return layers

    def position_ids(self, model: LibraryModule, batch: MaskedBatch) -> Tensor:
        """Return the position ids."""
        return batch.position_ids

    def attention(self, layer: LibraryModule) -> LibraryModule:
        """Return the attention module."""
        return layer.attention

    def projections(self, layer: LibraryModule) -> tuple[LibraryModule, LibraryModule, LibraryModule]:
        """Return the query, key and value projections."""
        return layer.attention.q_lin, layer.attention.k_lin, layer.attention.v_lin

    def after_attention(self, layer: LibraryModule, context: Tensor, states: Tensor) -> Tensor:
        """Return the output of a layer."""
        states = layer.sa_layer_norm(apply_linear(layer.attention.out_lin, context) + states)
        intermediate = layer.ffn.activation(apply_linear(layer.ffn.lin1, states))
        output: Tensor = layer.output_layer_norm(layer.ffn.dropout(apply_linear(layer.ffn.lin2, intermediate)) + states)
        return output

    def head(self, model: LibraryModule, states: Tensor, tied: TiedGradient | None) -> Tensor:
        """Return the logits of the masked tokens."""
        states = model.activation(apply_linear(model.vocab_transform, states))
        return compute_vocab_logits(model.vocab_projector, model.vocab_layer_norm(states), tied)


class BertArchitecture(Architecture):
    """The BERT architecture. All token type ids are 0, as is the default in transformers."""

    def layers(self, model: LibraryModule) -> Sequence[LibraryModule]:
        """Return the encoder layers."""
        layers: Sequence[LibraryModule] = model.base_model.encoder.layer
        return layers

    def position_ids(self, model: LibraryModule, batch: MaskedBatch) -> Tensor:
        """Return the position ids."""
        return batch.position_ids

    def attention(self, layer: LibraryModule) -> LibraryModule:
        """Return the attention module."""
        return layer.attention.self

    def projections(self, layer: LibraryModule) -> tuple[LibraryModule, LibraryModule, LibraryModule]:
        """Return the query, key and value projections."""
        attention = layer.attention.self
        return attention.query, attention.key, attention.value

    def after_attention(self, layer: LibraryModule, context: Tensor, states: Tensor) -> Tensor:
        """Return the output of a layer."""
        states = self._add_and_norm(layer.attention.output, context, states)
        intermediate = layer.intermediate.intermediate_act_fn(apply_linear(layer.intermediate.dense, states))
        return self._add_and_norm(layer.output, intermediate, states)

    def _add_and_norm(self, module: LibraryModule, states: Tensor, residual: Tensor) -> Tensor:
        output: Tensor = module.LayerNorm(module.dropout(apply_linear(module.dense, states)) + residual)
        return output

    def head(self, model: LibraryModule, states: Tensor, tied: TiedGradient | None) -> Tensor:
        """Return the logits of the masked tokens."""
        head = model.cls.predictions
        transformed_states = head.transform.transform_act_fn(apply_linear(head.transform.dense, states))
        return compute_vocab_logits(head.decoder, head.transform.LayerNorm(transformed_states), tied)


class RobertaArchitecture(BertArchitecture):
    """The RoBERTa architecture: BERT with a different head, and position ids that start after the padding id."""

    def position_ids(self, model: LibraryModule, batch: MaskedBatch) -> Tensor:
        """Return the position ids."""
        padding: int = model.roberta.embeddings.padding_idx
        is_regular = batch.input_ids.ne(padding).long()  # padding tokens within a row do not advance the position
        regular_before = is_regular.cumsum(0) - is_regular
        row_starts = torch.arange(len(regular_before), device=regular_before.device) - batch.position_ids
        return padding + is_regular * (1 + regular_before - regular_before[row_starts])

    def head(self, model: LibraryModule, states: Tensor, tied: TiedGradient | None) -> Tensor:
        """Return the logits of the masked tokens."""
        head = model.lm_head
        transformed_states = functional.gelu(apply_linear(head.dense, states))
        return compute_vocab_logits(head.decoder, head.layer_norm(transformed_states), tied)


BUILT_IN_ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "DistilBertForMaskedLM": DistilBertArchitecture(),
    "BertForMaskedLM": BertArchitecture(),
    "RobertaForMaskedLM": RobertaArchitecture(),
}


@functools.cache
def find_architectures() -> dict[str, Architecture]:
    """Return the supported architectures by model class name, both built-in and from installed packages.

    Raises:
        WinnowError: If an entry point cannot be loaded or is not an :class:`Architecture`.
    """
    return {
        **BUILT_IN_ARCHITECTURES,
        **{point.name: _load_architecture(point) for point in entry_points(group=ENTRY_POINT_GROUP)},
    }


def _load_architecture(point: Any) -> Architecture:
    label = f"the entry point {point.name!r} ({point.value}) of the group {ENTRY_POINT_GROUP}"
    try:
        architecture = point.load()
    except Exception as error:
        raise WinnowError(
            f"{label} cannot be loaded: {type(error).__name__}: {error}. Fix or uninstall the package that defines it.",
            "model",
        ) from error
    if not isinstance(architecture, Architecture):
        raise WinnowError(
            f"{label} must be an Architecture, got {architecture!r:.80}. Fix the package that defines it.", "model"
        )
    return architecture
