"""Convert a search space to Optuna's distributions, and sampled values to Hydra overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from winnow.config import SearchRange
from winnow.errors import WinnowError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SIGNIFICANT_DIGITS = 4
"""The number of significant digits of sampled floats, which appear in the names of arms."""

Space = Mapping[str, SearchRange | list[Any]]


def build_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution for each key of a search space.

    The values of a list are represented by their texts in an override, because Optuna accepts only scalars.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    distributions: dict[str, BaseDistribution] = {}
    for key, choices in space.items():
        if isinstance(choices, list):
            distributions[key] = CategoricalDistribution([format_override_value(choice) for choice in choices])
        elif isinstance(choices.low, int) and isinstance(choices.high, int):
            distributions[key] = IntDistribution(choices.low, choices.high, log=choices.log)
        else:
            distributions[key] = FloatDistribution(choices.low, choices.high, log=choices.log)
    return distributions


def find_space_errors(space: Space) -> list[WinnowError]:
    """Return an error for each invalid range and each key that a search must not vary."""
    errors = []
    for key, choices in space.items():
        if key == "seed" or key.split(".")[0] in ("study", "evaluation", "tracking", "launcher", "output_dir"):
            message = (
                "this key cannot be searched, because all trials must be evaluated in the same way. Remove the key."
            )
            errors.append(WinnowError(message, f"space.{key}"))
        if isinstance(choices, SearchRange):
            if choices.low > choices.high:
                message = f"expected low <= high, got {choices.low} and {choices.high}. Swap the two bounds."
                errors.append(WinnowError(message, f"space.{key}"))
            if choices.log and choices.low <= 0:
                message = f"expected a positive low bound with log, got {choices.low}. Increase it, or remove log."
                errors.append(WinnowError(message, f"space.{key}"))
    return errors


def build_overrides(params: Mapping[str, Any]) -> list[str]:
    """Return the Hydra overrides for sampled parameters.

    >>> build_overrides({"filter.keep": "'a & b'", "optimizer.lr": 0.00123456, "model.layers": 2})
    ["filter.keep='a & b'", 'optimizer.lr=0.001235', 'model.layers=2']
    """
    return [
        f"{key}={value:.{SIGNIFICANT_DIGITS}g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    ]


def format_override_value(value: Any) -> str:
    r"""Return a value in the syntax of Hydra's overrides.

    >>> [format_override_value(value) for value in (0.5, True, None, "span", "a & b", ["x", 1])]
    ['0.5', 'true', 'null', 'span', "'a & b'", '[x,1]']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(format_override_value, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{format_override_value(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z_][\w./-]*", value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return str(value)
