"""Parse and check Hydra overrides from the command line, and expand sweeps into grids."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

from winnow.config.config_groups import SINGLE_OBJECT_GROUPS
from winnow.config.limits import MAX_CELLS, MAX_DEPTH, MAX_OVERRIDE_CHARACTERS
from winnow.config.search_path import GroupOptions
from winnow.errors import WinnowError, did_you_mean

UNSUPPORTED_KEY_HINTS = {
    "hydra.run": "set output_dir=FOLDER",
    "hydra.sweep": "set output_dir=FOLDER",
    "hydra/launcher": "select a launcher, such as launcher=joblib",
    "hydra.launcher": "select a launcher, such as launcher=joblib",
    "hydra/sweeper": "list the values of the grid",
    "hydra.sweeper": "list the values of the grid",
    "hydra.searchpath": "add the folder with --config-dir FOLDER",
}
"""Unsupported Hydra keys, mapped to the advice that the error message gives."""


@functools.lru_cache(maxsize=4096)
def parse_override(text: str) -> Any:
    """Parse an override with Hydra's parser and return Hydra's `Override` object."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text)


def is_parsable(text: str, errors: list[WinnowError]) -> bool:
    """Return whether Hydra can parse an override, and append to `errors` if it cannot."""
    from hydra.errors import HydraException

    key = text.partition("=")[0][:80]
    if len(text) > MAX_OVERRIDE_CHARACTERS:
        message = f"expected at most {MAX_OVERRIDE_CHARACTERS:,} characters, got {len(text):,}."
        message += " Set long values in a config file instead."
        errors.append(WinnowError(message, key))
        return False
    if not text.partition("=")[0].strip("+~ "):
        errors.append(WinnowError(f"expected key=value, got {text[:80]!r}. Add a key.", "overrides"))
        return False
    if _measure_depth(text) > MAX_DEPTH:
        message = f"the value is nested more than {MAX_DEPTH} levels deep. Use fewer levels."
        errors.append(WinnowError(message, key))
        return False
    try:
        parse_override(text)
    except (HydraException, ValueError) as error:  # a ValueError is raised for integers with thousands of digits
        reason = str(error).splitlines()[0][:200]
        errors.append(
            WinnowError(
                f"expected key=value, got {text[:80]!r} ({reason}). Quote each value that contains spaces, brackets or "
                '~, inside the quotes of the shell, as in \'filter.keep="~unwanted","unwanted < 2"\'.',
                key,
            )
        )
        return False
    except RecursionError:
        errors.append(WinnowError("the value is nested too deeply. Use fewer levels.", key))
        return False
    return True


def _measure_depth(text: str) -> int:
    """Return the maximum depth of the brackets and braces in an override."""
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def is_supported_override(text: str, command: str, errors: list[WinnowError]) -> bool:
    """Return whether a command supports an override. Append to `errors` if only Hydra apps support the override."""
    override = parse_override(text)
    key = override.key_or_group
    if not override.is_hydra_override() and key != "hydra":
        return True
    # `hydra.sweeper.params` is supported in experiment files but not on the command line.
    if key == "hydra.mode" and not override.is_sweep_override():
        return True
    hint = next(
        (hint for start, hint in UNSUPPORTED_KEY_HINTS.items() if f"{key}.".startswith(f"{start}.")),
        "remove the override",
    )
    script = ", or run scripts/train.py, which supports this key" if command == "train" else ""
    errors.append(WinnowError(f"winnow {command} does not support the key {key!r}. Instead, {hint}{script}.", key))
    return False


def has_known_option(choices: GroupOptions, text: str, errors: list[WinnowError]) -> bool:
    """Return whether the option that an override such as `filter=nike_positive` selects exists.

    If the option does not exist, an error is appended to `errors`. Other overrides return `True`.
    """
    override = parse_override(text)
    options = choices.get(override.key_or_group)
    value = override.value()
    if options is None or override.is_delete() or isinstance(value, dict):
        return True
    if isinstance(value, list) and override.key_or_group in SINGLE_OBJECT_GROUPS:
        errors.append(
            WinnowError(
                f"expected one option, got a list of {len(value)}. To run a sweep, use -m.", override.key_or_group
            )
        )
        return False
    for choice in value if isinstance(value, list) else [value]:
        if not _is_option(choices, override.key_or_group, str(choice)):
            allowed = ", ".join(options)
            near = did_you_mean(str(choice), options)
            errors.append(
                WinnowError(
                    f"this config group has no option {choice!r}.{near} Allowed: {allowed}.", override.key_or_group
                )
            )
            return False
    return True


def _is_option(choices: GroupOptions, group: str, choice: str) -> bool:
    """Return whether a config group has an option, which may be in a subfolder, as in `experiment=team/mine`."""
    folder, _, name = f"{group}/{choice}".rpartition("/")
    return name in choices.get(folder, ())


def force_add_override(choices: GroupOptions, text: str) -> str:
    """Convert `key=value` to `++key=value` and return it. Hydra then accepts unknown keys, which Winnow reports."""
    override = parse_override(text)
    has_sign = override.is_add() or override.is_force_add() or override.is_delete()
    needs_prefix = not (has_sign or override.key_or_group.startswith("hydra"))
    return f"++{text}" if needs_prefix and override.key_or_group not in choices else text


def is_value_override(choices: GroupOptions, text: str) -> bool:
    """Return whether an override has the form `++key=value` and does not select an option of a config group."""
    override = parse_override(text)
    is_value = override.package is None and override.key_or_group not in choices
    return override.is_force_add() and is_value and not override.is_hydra_override()


def apply_override(config: Any, text: str) -> None:
    """Set the value of a `++key=value` override in a composed config, in place, with the same result as in Hydra."""
    from omegaconf import OmegaConf

    override = parse_override(text)
    OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=True)


def drop_sweep_overrides(overrides: list[str], errors: list[WinnowError]) -> list[str]:
    """Return the overrides that have a single value, and append to `errors` for each override with several values."""
    for text in overrides:
        override = parse_override(text)
        if override.is_interval_sweep():
            errors.append(_interval_error(text))
        elif override.is_sweep_override():
            errors.append(
                WinnowError(
                    f"expected one value for a single run, got {text.partition('=')[2]}. Add -m to run a sweep.",
                    text.split("=")[0],
                )
            )
    return [text for text in overrides if not parse_override(text).is_sweep_override()]


def expand_sweep(
    overrides: list[str], params: Mapping[str, str], choices: GroupOptions, errors: list[WinnowError]
) -> list[list[str]]:
    """Return the list of overrides for every point of a sweep, as a grid in which the last key changes fastest.

    Args:
        overrides: The overrides from the command line. If a key is also in `params`, the override replaces the value in
            `params`, and the position of the key in the grid stays the same.
        params: The `hydra.sweeper.params` of the experiment.
        choices: The options of each config group, which `glob()` matches.
        errors: A list to which an error is appended for each invalid override.
    """
    by_key = {parse_override(text).get_key_element(): text for text in overrides}
    texts: dict[str, str] = {}
    for key, value in params.items():
        same = next((other for other in by_key if other.lstrip("+") == key.lstrip("+")), None)
        texts[key] = by_key.pop(same) if same else f"{key}={value}"
    readable = [text for text in [*texts.values(), *by_key.values()] if is_parsable(text, errors)]
    axes = [_expand_override(text, choices, errors) for text in readable]
    cell_count = math.prod(len(axis) for axis in axes if axis)
    if cell_count > MAX_CELLS:
        keys = ", ".join(text.partition("=")[0] for text, axis in zip(readable, axes, strict=True) if len(axis) > 1)
        errors.append(WinnowError(f"the sweep has {cell_count:,} cells. Use at most {MAX_CELLS:,}.", keys))
        return []
    return [list(point) for point in itertools.product(*filter(None, axes))]


def _expand_override(text: str, choices: GroupOptions, errors: list[WinnowError]) -> list[str]:
    """Return one override per value of a swept key, or an empty list if the override is invalid."""
    from hydra.core.override_parser.types import Glob, RangeSweep

    override = parse_override(text)
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if override.is_interval_sweep():
        errors.append(_interval_error(text))
        return []
    if isinstance(value, RangeSweep) and (error := _find_range_error(value, key)):
        errors.append(error)
        return []
    if not isinstance(value, Glob):
        return [f"{key}={item}" for item in override.sweep_string_iterator()]
    options = choices.get(override.key_or_group)
    names = value.filter(options or [])
    if options is None:
        errors.append(
            WinnowError(
                f"glob() works only for config groups, and {key!r} is not a config group. List the values instead.", key
            )
        )
    elif not names:
        errors.append(WinnowError(f"{text.partition('=')[2]} matches no option. Allowed: {', '.join(options)}.", key))
    return [f"{key}={name}" for name in names]


def _find_range_error(sweep: Any, key: str) -> WinnowError | None:
    """Return an error if a range has infinite bounds, a step of 0, no values or too many values."""
    start, stop, step = sweep.start, sweep.stop, sweep.step
    if not all(map(math.isfinite, (start, stop, step))) or step == 0:
        return WinnowError(f"expected finite bounds and a step other than 0, got range({start},{stop},{step}).", key)
    size = math.ceil((stop - start) / step)
    if size < 1:
        return WinnowError(
            f"range({start},{stop},{step}) has no values. Change the bounds; the upper bound is not included.",
            key,
        )
    if size > MAX_CELLS:
        return WinnowError(f"the sweep has {size:,} values. Use at most {MAX_CELLS:,}.", key)
    return None


def _interval_error(text: str) -> WinnowError:
    key, _, value = text.partition("=")
    return WinnowError(f"interval() is not supported, got {value}. Use range() or choice() with -m instead.", key)
