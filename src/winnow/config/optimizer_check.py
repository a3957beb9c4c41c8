"""Check the arguments of optimizers before any data is read."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from winnow.config.class_skeletons import is_skeleton
from winnow.config.targets import describe_target
from winnow.errors import WinnowError

_STATICALLY_CHECKED: Final = (
    "torch.optim.adam.Adam",
    "torch.optim.adamw.AdamW",
    "winnow.training.muon.MuonWithAdamW",
)
"""The optimizers whose arguments can be checked without importing torch."""


def check_optimizers(nodes: Iterable[Mapping[str, Any]], allowed: tuple[str, ...]) -> list[WinnowError]:
    """Check the arguments of each optimizer; see :func:`check_optimizer`.

    Args:
        nodes: Valid nodes of the config group `optimizer`.
        allowed: The packages whose classes may be a `_target_`.
    """
    errors: list[WinnowError] = []
    for node in nodes:
        target = describe_target(str(node["_target_"]), "optimizer._target_", allowed, errors)
        arguments = {name: value for name, value in node.items() if name not in ("_target_", "_partial_")}
        errors += check_optimizer(target, arguments, "optimizer") if target is not None else []
    return errors


def check_optimizer(target: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> list[WinnowError]:
    """Construct an optimizer for dummy parameters, take one step, and return an error if this fails.

    Only optimizers of PyTorch and Winnow are checked: the code of other packages must run only in training.
    """
    is_checked = target.__module__.startswith(("torch.optim", "winnow."))
    if not is_checked or _has_valid_adam_arguments(target, arguments):
        return []
    problem = _find_optimizer_problem(target, arguments)
    if problem is None:
        return []
    # If removing one argument makes the others valid, that argument is the invalid one.
    invalid = [
        name
        for name in arguments
        if _find_optimizer_problem(target, {other: arguments[other] for other in arguments if other != name}) is None
    ]
    message = f"{target.__name__} rejected its arguments: {problem}. Correct or remove the invalid arguments."
    return [WinnowError(message, f"{key}.{invalid[0]}" if len(invalid) == 1 else key)]


def _has_valid_adam_arguments(target: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Return whether a target is Adam, AdamW or Muon with AdamW, and its arguments are valid, without importing torch.

    Numeric arguments must be in their allowed range. All other arguments except `fused` must have their default values.
    """
    if f"{target.__module__}.{target.__name__}" not in _STATICALLY_CHECKED:
        return False
    defaults = {name: parameter.default for name, parameter in inspect.signature(target).parameters.items()}
    return all(_is_valid_adam_argument(name, value, defaults) for name, value in arguments.items())


def _is_valid_adam_argument(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    if name in ("lr", "adamw_lr", "eps", "weight_decay", "momentum"):
        return type(value) is float and 0 <= value < math.inf
    if name == "betas":
        return (
            isinstance(value, list | tuple) and len(value) == 2 and all(type(b) is float and 0 <= b < 1 for b in value)
        )
    return value is None or isinstance(value, bool) if name == "fused" else bool(value == defaults.get(name))


def _find_optimizer_problem(target: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    import torch

    if is_skeleton(target):
        target = getattr(importlib.import_module(target.__module__), target.__name__)
    parameters = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    groups = [{"params": [parameters[0]], "hidden": True}, {"params": [parameters[1]], "weight_decay": 0.0}]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        optimizer = target(groups, **arguments)
        if not arguments.get("capturable"):  # requires a GPU
            optimizer.step()
    except Exception as error:  # the exception type depends on the optimizer
        return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
    return None
