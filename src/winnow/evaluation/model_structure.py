"""Describe the structure of a model in two tables: all modules with their shapes, and a summary by component."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_LAYER_NAME_PATTERN = re.compile(r"(.*\.(?:layer|layers|block))\.(\d+)$")


def list_modules(model: PreTrainedModel) -> list[dict[str, Any]]:
    """Return one row per module with weights: ``module``, ``kind``, ``shapes`` and ``parameters``.

    A tied weight, such as the weight that the word embeddings and the output embeddings share, is counted only in the
    first module that contains it. The counts of all rows therefore add up to the model's number of parameters.
    """
    counted_ids: set[int] = set()
    rows = []
    for name, module in model.named_modules():
        weights = list(module.named_parameters(recurse=False))
        if weights:
            shapes = ", ".join(f"{key} {_format_shape(w)}" + " (tied)" * (id(w) in counted_ids) for key, w in weights)
            count = sum(w.numel() for _, w in weights if id(w) not in counted_ids)
            counted_ids |= {id(w) for _, w in weights}
            rows.append({"module": name, "kind": type(module).__name__, "shapes": shapes, "parameters": count})
    return rows


def list_components(model: PreTrainedModel) -> list[dict[str, Any]]:
    """Summarize a model in up to three rows: the embeddings, the transformer layers and the head.

    Returns:
        Rows with ``part`` (the name of the component), ``kind`` (``embeddings``, ``layer`` or ``head``), ``repeats``,
        ``parameters`` (across all repeats) and ``shapes`` as text. Tied weights count as embeddings.
    """
    rows = list_modules(model)
    layers = dict(_find_layers(model))
    layer_of = {row["module"]: _find_layer_of(row["module"], layers) for row in rows}
    first_layer_row = next((i for i, row in enumerate(rows) if layer_of[row["module"]]), len(rows))
    embedding_rows = [row for i, row in enumerate(rows) if i < first_layer_row and not layer_of[row["module"]]]
    head_rows = [row for i, row in enumerate(rows) if i >= first_layer_row and not layer_of[row["module"]]]
    layer_rows = [row for row in rows if layer_of[row["module"]]]
    vocabulary, width = model.get_input_embeddings().weight.shape
    heads = getattr(model.config, "num_attention_heads", None) or getattr(model.config, "n_heads", None)
    attention = f"{heads} heads of {width // heads}, " if heads else ""
    matrices = [weights for layer in layers.values() for weights in layer.parameters() if weights.ndim == 2]
    inner_size = max((weights.shape[0] for weights in matrices), default=0)
    components = (
        ("embeddings", "embeddings", 1, f"{vocabulary:,} tokens x {width}", embedding_rows),
        ("transformer layer", "layer", len(layers), f"{attention}width {width}, inner {inner_size:,}", layer_rows),
        ("masked language head", "head", 1, f"{width} to {vocabulary:,} logits", head_rows),
    )
    return [
        {
            "part": name,
            "kind": kind,
            "repeats": repeats,
            "shapes": shapes,
            "parameters": sum(row["parameters"] for row in component_rows),
        }
        for name, kind, repeats, shapes, component_rows in components
        if component_rows
    ]


def _find_layers(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield the name and module of each numbered layer; layers nested inside another layer are skipped."""
    outer_layers: list[str] = []
    for name, module in model.named_modules():
        if _LAYER_NAME_PATTERN.match(name) and not any(name.startswith(f"{outer}.") for outer in outer_layers):
            outer_layers.append(name)
            yield name, module


def _find_layer_of(module: str, layers: dict[str, torch.nn.Module]) -> str | None:
    return next((name for name in layers if module == name or module.startswith(f"{name}.")), None)


def _format_shape(weights: torch.Tensor) -> str:
    return " x ".join(f"{size:,}" for size in weights.shape)
