"""Check the arguments of PyTorch's optimizers and of Lightning's Trainer before any data is read."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from winnow.config.class_skeletons import is_skeleton
from winnow.errors import WinnowError, did_you_mean

PRECISIONS: Final = ("32-true", "bf16-mixed", "16-mixed")
"""The values of Lightning's `precision` that Winnow supports."""

KNOWN_OPTIONS: Final = {"accelerator": ("auto", "cpu", "gpu"), "strategy": ("auto", "ddp")}
"""Values that every version of Lightning accepts. If one of these is set, Lightning is not imported for the check."""

_PRECISION_ALIASES: Final = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Short names of precisions that Lightning also accepts, mapped to the full names."""


def check_optimizer(target: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> list[WinnowError]:
    """Construct a PyTorch optimizer for dummy parameters, take one step, and return an error if this fails.

    Optimizers from other packages are not checked, because their code must run only in training.
    """
    if not target.__module__.startswith("torch.optim") or _has_valid_adam_arguments(target, arguments):
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
    """Return whether a target is Adam or AdamW, and its arguments are found to be valid without importing torch.

    Numeric arguments must be in their allowed range. All other arguments except `fused` must have their default values.
    """
    if f"{target.__module__}.{target.__name__}" not in ("torch.optim.adam.Adam", "torch.optim.adamw.AdamW"):
        return False
    defaults = {name: parameter.default for name, parameter in inspect.signature(target).parameters.items()}
    return all(_is_valid_adam_argument(name, value, defaults) for name, value in arguments.items())


def _is_valid_adam_argument(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    if name in ("lr", "eps", "weight_decay"):
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
    groups = [{"params": [parameters[0]]}, {"params": [parameters[1]], "weight_decay": 0.0}]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        optimizer = target(groups, **arguments)
        if not arguments.get("capturable"):  # requires a GPU
            optimizer.step()
    except Exception as error:  # the exception type depends on the optimizer
        return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
    return None


def check_trainer(target: Callable[..., Any], arguments: Mapping[str, Any], key: str) -> list[WinnowError]:
    """Return an error for each invalid hardware or precision argument of Lightning's Trainer."""
    errors = []
    for name, known_options in KNOWN_OPTIONS.items():
        value = arguments.get(name, "auto")
        if value not in known_options and value not in (options := _list_registered_options(name)):
            hint = did_you_mean(str(value), options)
            errors.append(WinnowError(f"got {value!r:.80}.{hint} Allowed: {', '.join(options)}.", f"{key}.{name}"))
    if problem := _find_precision_problem(arguments):
        errors.append(WinnowError(problem, f"{key}.precision"))
    if not _is_device_count(arguments.get("devices", "auto"), arguments.get("accelerator")):
        message = "expected a number of devices, a list of device indices, or auto, got"
        errors.append(WinnowError(f"{message} {arguments['devices']!r:.80}.", f"{key}.devices"))
    nodes = arguments.get("num_nodes", 1)
    if type(nodes) is not int or nodes < 1:
        errors.append(WinnowError(f"expected a number of machines, at least 1, got {nodes!r:.80}.", f"{key}.num_nodes"))
    return errors


def _list_registered_options(argument: str) -> list[str]:
    """Return the names that Lightning accepts for `accelerator` or `strategy`, including those from plugins."""
    if argument == "accelerator":
        from pytorch_lightning.accelerators import AcceleratorRegistry

        return ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]
    from pytorch_lightning.strategies import StrategyRegistry

    return ["auto", *StrategyRegistry.available_strategies()]


def _find_precision_problem(arguments: Mapping[str, Any]) -> str | None:
    value = arguments.get("precision")
    if value is None:
        return None
    precision = _PRECISION_ALIASES.get(str(value), str(value))
    if precision not in PRECISIONS:
        return f"got {value!r:.80}.{did_you_mean(str(value), PRECISIONS)} Allowed: {', '.join(PRECISIONS)}."
    if precision == "16-mixed" and arguments.get("accelerator") == "cpu":
        return "16-mixed requires a GPU; Lightning would use bf16-mixed on a CPU instead. Set bf16-mixed or 32-true."
    return None


def _is_device_count(value: Any, accelerator: Any) -> bool:
    """Return whether Lightning accepts a value of `devices`. On CPUs, only positive numbers are accepted."""
    if isinstance(value, str) and value != "auto":
        numbers = [number.strip().lstrip("-") for number in value.split(",")]
        if not all(number.isdecimal() for number in numbers):
            return False
        value = int(value) if len(numbers) == 1 else list(map(int, numbers))
    if isinstance(value, list):
        return accelerator != "cpu" and bool(value) and all(type(device) is int and device >= 0 for device in value)
    return value == "auto" or (type(value) is int and (value > 0 or (value == -1 and accelerator != "cpu")))
