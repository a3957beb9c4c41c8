"""Check the arguments of Lightning's Trainer before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from winnow.errors import WinnowError, did_you_mean

PRECISIONS: Final = ("32-true", "bf16-mixed", "16-mixed")
"""The values of Lightning's `precision` that Winnow supports."""

KNOWN_OPTIONS: Final = {"accelerator": ("auto", "cpu", "gpu"), "strategy": ("auto", "ddp")}
"""Values that every version of Lightning accepts. If one of these is set, Lightning is not imported for the check."""

_PRECISION_ALIASES: Final = {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Short names of precisions that Lightning also accepts, mapped to the full names."""


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
