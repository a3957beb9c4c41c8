"""Which weights are trained, and how fast: freezing, parameter groups and the learning rate's schedules."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, assert_never

import torch

from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Scheduler = Literal["linear", "cosine", "constant"]
"""How the learning rate goes on after its climb: ``linear`` and ``cosine`` fall to 0 at the end of the budget."""


def freeze(model: torch.nn.Module, patterns: Sequence[str]) -> int:
    """Keep the weights whose names match from being trained.

    A name is what ``model.named_parameters()`` calls it; a pattern is matched as the shell matches files, and the name
    of a module stands for all that is in it. Weights that are tied are one, so the embeddings' name freezes the
    vocabulary head that shares them.

    Args:
        model: The model; it is changed in place.
        patterns: Such as ``distilbert.embeddings`` or ``*.layer.[0-3].*``.

    Returns:
        How many weights stand still.

    Raises:
        WinnowError: With key ``training.freeze``; a pattern matches nothing, or nothing is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matched = [name for name in parameters if fnmatch.fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")]
        if not matched:
            options = [*parameters, *(name for name, _ in model.named_modules() if name)]
            raise WinnowError(
                f"{pattern!r} matches no weight.{did_you_mean(pattern, options)} The model's parts are "
                f"{', '.join(_top_parts(model))}; a * stands for any letters.",
                key="training.freeze",
            )
        for name in matched:
            parameters[name].requires_grad = False
    if patterns and not any(parameter.requires_grad for parameter in parameters.values()):
        raise WinnowError(
            f"{', '.join(map(repr, patterns))} freezes every weight, so nothing would be trained. Name fewer.",
            key="training.freeze",
        )
    return sum(parameter.numel() for parameter in parameters.values() if not parameter.requires_grad)


def compute_twice(model: PreTrainedModel) -> None:
    """Let the layers forget what they computed and compute it again in the backward pass (gradient checkpointing)."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Meant for frozen embeddings under another kind of checkpoint; a hook would keep the efficient forward away.
    model.disable_input_require_grads()


def _top_parts(model: torch.nn.Module) -> list[str]:
    """Return the names of the modules two levels down, which is where layers and embeddings stand."""
    return [name for name, _ in model.named_modules() if name and name.count(".") <= 1]


def parameter_groups(model: torch.nn.Module) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups: matrices, and the rest without weight decay.

    Biases and the scales of layer norms are no matrices; pulling them to zero does not regularise (Devlin et
    al. 2019).
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def schedule(kind: Scheduler, warmup_fraction: float, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate at each step from 0: a linear climb to 1, then what `kind` says.

    The rate is never 0 while steps are left, so no step is wasted; without warm-up it is that of ``transformers``.

    >>> [round(schedule("linear", 0.4, 5)(step), 2) for step in range(6)]
    [0.33, 0.67, 1.0, 0.67, 0.33, 0.0]
    >>> [round(schedule("cosine", 0, 4)(step), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    >>> [schedule("constant", 0.25, 4)(step) for step in range(5)]
    [0.5, 1.0, 1.0, 1.0, 1.0]
    """
    warmup = round(warmup_fraction * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        left = max(steps - step, 0) / max(steps - warmup, 1)
        match kind:
            case "linear":
                return left
            case "cosine":
                return (1 - math.cos(math.pi * left)) / 2
            case "constant":
                return 1.0
            case never:
                assert_never(never)

    return factor
