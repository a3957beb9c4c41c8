"""Freeze parameters, group them for the optimizer, and build learning rate schedules."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, assert_never

import torch

from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ScheduleKind = Literal["linear", "cosine", "constant"]
"""The learning rate schedule after warmup; ``linear`` and ``cosine`` decay to 0 at the end of training."""


def freeze_parameters(model: torch.nn.Module, patterns: Sequence[str]) -> int:
    """Freeze the parameters whose names match a pattern.

    Patterns are shell-style wildcards that are matched against the names in ``model.named_parameters()``. A module name
    matches all parameters of the module. Tied weights are a single parameter, so freezing the embeddings also freezes a
    vocabulary head that shares their weights.

    Args:
        model: The model, which is modified in place.
        patterns: Patterns such as ``distilbert.embeddings`` or ``*.layer.[0-3].*``.

    Returns:
        The total number of frozen weights in the model.

    Raises:
        WinnowError: If a pattern matches no parameter, or if all parameters are frozen. The error's key is
            ``training.freeze``.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matches = [name for name in parameters if fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")]
        if not matches:
            options = [*parameters, *(name for name, _ in model.named_modules() if name)]
            raise WinnowError(
                f"{pattern!r} matches no parameter.{did_you_mean(pattern, options)} Available modules: "
                f"{', '.join(_list_top_modules(model))}. Use a module or parameter name; * matches any characters.",
                key="training.freeze",
            )
        for name in matches:
            parameters[name].requires_grad = False
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise WinnowError(
            f"expected at least one trainable parameter, but {', '.join(map(repr, patterns))} would freeze all "
            "parameters. Remove a pattern, or make it more specific.",
            key="training.freeze",
        )
    return sum(parameter.numel() for parameter in parameters.values() if not parameter.requires_grad)


def enable_gradient_checkpointing(model: PreTrainedModel) -> None:
    """Make a model recompute the activations of each layer in the backward pass instead of storing them."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Remove the forward hook that transformers adds for reentrant checkpointing: it is not needed here, and the
    # efficient forward pass does not support hooks.
    model.disable_input_require_grads()


def _list_top_modules(model: torch.nn.Module) -> list[str]:
    """Return the names of the modules on the first two levels, which include the embeddings and the encoder."""
    return [name for name, _ in model.named_modules() if name and name.count(".") <= 1]


def build_parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Return three groups of trainable parameters: embeddings, hidden weight matrices, and all other parameters.

    The embeddings include the vocabulary head. The other parameters, biases and layer norm weights, are excluded from
    weight decay, as in BERT (Devlin et al. 2019). Only the group of the hidden matrices has the entry
    ``"hidden": True``, which :class:`winnow.training.muon.MuonWithAdamW` reads.
    """
    vocabulary = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    find_head: Any = getattr(model, "get_output_embeddings", lambda: None)
    head = find_head()
    vocabulary |= {id(parameter) for parameter in head.parameters()} if head is not None else set()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    return [
        {"params": [matrix for matrix in matrices if id(matrix) in vocabulary]},
        {"params": [matrix for matrix in matrices if id(matrix) not in vocabulary], "hidden": True},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def build_schedule(kind: ScheduleKind, warmup_fraction: float, steps: int) -> Callable[[int], float]:
    """Return a function that maps a step, counted from 0, to a learning rate multiplier.

    The multiplier increases linearly to 1 during warmup, then follows ``kind``. The multiplier is
    positive at every training step, so no step is wasted. Without warmup, the schedule equals the corresponding
    schedule in ``transformers``.

    >>> [round(build_schedule("linear", 0.4, 5)(step), 2) for step in range(6)]
    [0.33, 0.67, 1.0, 0.67, 0.33, 0.0]
    >>> [round(build_schedule("cosine", 0, 4)(step), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    >>> [build_schedule("constant", 0.25, 4)(step) for step in range(5)]
    [0.5, 1.0, 1.0, 1.0, 1.0]
    """
    warmup = round(warmup_fraction * steps)

    def compute_factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        remaining = max(steps - step, 0) / max(steps - warmup, 1)
        match kind:
            case "linear":
                return remaining
            case "cosine":
                return (1 - math.cos(math.pi * remaining)) / 2
            case "constant":
                return 1.0
            case never:
                assert_never(never)

    return compute_factor
