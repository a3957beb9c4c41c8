"""The structure of a model as tables: every module with its shapes, and its parts in a few lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_LAYER = re.compile(r"(.*\.(?:layer|layers|block))\.(\d+)$")


def modules_of(model: PreTrainedModel) -> list[dict[str, Any]]:
    """Return a row for each module that holds weights: ``module``, ``kind``, ``shapes`` and ``parameters``.

    A weight that several modules share (the word embeddings and the vocabulary head) counts where it stands first, so
    that the parameters add up to those of the model.
    """
    seen: set[int] = set()
    rows = []
    for name, module in model.named_modules():
        own = list(module.named_parameters(recurse=False))
        if own:
            shapes = ", ".join(f"{key} {_shape(weights)}" + " (tied)" * (id(weights) in seen) for key, weights in own)
            count = sum(weights.numel() for _, weights in own if id(weights) not in seen)
            seen |= {id(weights) for _, weights in own}
            rows.append({"module": name, "kind": type(module).__name__, "shapes": shapes, "parameters": count})
    return rows


def parts_of(model: PreTrainedModel) -> list[dict[str, Any]]:
    """Return the parts of a model from the input up: embeddings, equal layers as one line, and the head.

    Returns:
        Rows with ``part``, ``kind`` (``embeddings``, ``layer`` or ``head``), ``repeats``, ``parameters`` (of all
        repeats) and ``shapes`` in words. What is tied to the embeddings counts there.
    """
    rows = modules_of(model)
    layers = dict(_layers(model))
    inside = {row["module"]: _layer_of(row["module"], layers) for row in rows}
    first = next((i for i, row in enumerate(rows) if inside[row["module"]]), len(rows))
    below = [row for i, row in enumerate(rows) if i < first and not inside[row["module"]]]
    above = [row for i, row in enumerate(rows) if i >= first and not inside[row["module"]]]
    within = [row for row in rows if inside[row["module"]]]
    vocabulary, width = model.get_input_embeddings().weight.shape
    heads = getattr(model.config, "num_attention_heads", None) or getattr(model.config, "n_heads", None)
    told = f"{heads} heads of {width // heads}, " if heads else ""
    matrices = [weights for layer in layers.values() for weights in layer.parameters() if weights.ndim == 2]
    inner = max((weights.shape[0] for weights in matrices), default=0)
    parts = (
        ("embeddings", "embeddings", 1, f"{vocabulary:,} tokens x {width}", below),
        ("transformer layer", "layer", len(layers), f"{told}width {width}, inner {inner:,}", within),
        ("masked language head", "head", 1, f"{width} to {vocabulary:,} logits", above),
    )
    return [
        {
            "part": part,
            "kind": kind,
            "repeats": repeats,
            "shapes": shapes,
            "parameters": sum(row["parameters"] for row in own),
        }
        for part, kind, repeats, shapes, own in parts
        if own
    ]


def _layers(model: PreTrainedModel) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield the outermost numbered layers; in them further lists may lie."""
    found: list[str] = []
    for name, module in model.named_modules():
        if _LAYER.match(name) and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
            yield name, module


def _layer_of(module: str, layers: dict[str, torch.nn.Module]) -> str | None:
    return next((name for name in layers if module == name or module.startswith(f"{name}.")), None)


def _shape(weights: torch.Tensor) -> str:
    return " x ".join(f"{size:,}" for size in weights.shape)
