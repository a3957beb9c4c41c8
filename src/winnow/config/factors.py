"""Find the factors of a sweep: the swept settings outside the filter, such as `optimizer.lr`.

In the sweep `filter=full,cheerful optimizer.lr=1e-4,1e-3`, the factor `optimizer.lr` has the levels `1e-4` and `1e-3`.
Arms are compared within each level of every factor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from winnow.config.arm_names import format_value, look_up
from winnow.config.compared_settings import HARDWARE_TRAINER_ARGUMENTS
from winnow.config.overrides import parse_override

FACTOR_GROUPS: Final = ("model", "masking", "optimizer", "training", "trainer")
"""The config groups whose swept settings are factors. Other settings change the data or the evaluation."""

MAX_FIXED_POINT: Final = 0.01
"""Levels with a smaller absolute value are written in scientific notation, such as `1e-4`."""


def find_swept_factors(points: Iterable[Sequence[str]]) -> list[str]:
    """Return the keys of a sweep that are factors, in the order of the sweep."""
    values: dict[str, dict[str, None]] = {}
    for text in dict.fromkeys(text for point in points for text in point):
        if is_factor_key(key := _find_key(text)):
            values.setdefault(key, {})[text] = None
    return [key for key, texts in values.items() if len(texts) > 1]


def is_factor_key(key: str) -> bool:
    """Return whether a setting is a factor if it is swept.

    >>> [is_factor_key(key) for key in ("optimizer.lr", "model", "trainer.devices", "filter.on_null", "seed")]
    [True, True, False, False, False]
    """
    group, _, name = key.partition(".")
    return group in FACTOR_GROUPS and not (group == "trainer" and name in ("", *HARDWARE_TRAINER_ARGUMENTS))


def add_factor_levels(tree: dict[str, Any], overrides: Iterable[str], factors: Sequence[str]) -> None:
    """Store the level of each factor in a composed config, in place. Declared levels take precedence.

    Args:
        tree: The composed config of a cell.
        overrides: The overrides that apply to the cell.
        factors: The swept factors.
    """
    choices = {_find_key(text): parse_override(text).value() for text in overrides}
    levels = {}
    for key in factors:
        value = look_up(tree, key.split("."))
        levels[key] = format_level(choices.get(key, value) if isinstance(value, Mapping) else value)
    declared = tree.get("factors")
    if isinstance(declared, Mapping):
        levels |= {str(key): format_level(level) for key, level in declared.items()}
    if levels:
        tree["factors"] = levels


def format_level(value: Any) -> str:
    """Return a level as text. Equal numbers have equal texts.

    >>> [format_level(value) for value in (1e-4, 0.001, 0.0025, 0.05, 300, "scratch", None)]
    ['1e-4', '1e-3', '2.5e-3', '0.05', '300', 'scratch', 'null']
    """
    if isinstance(value, float) and 0 < abs(value) < MAX_FIXED_POINT:
        return f"{Decimal(repr(value)).normalize():e}"
    return format_value(value)


def format_levels(levels: Mapping[str, str]) -> str:
    """Return a combination of levels as text; an empty text if there are no factors.

    >>> format_levels({"optimizer.lr": "1e-4", "model": "scratch"})
    'optimizer.lr=1e-4, model=scratch'
    """
    return ", ".join(f"{key}={level}" for key, level in levels.items())


def _find_key(text: str) -> str:
    """Return the key that an override sets, without `+`."""
    override = parse_override(text)
    return str(override.package or override.key_or_group)
