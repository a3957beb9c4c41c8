"""Overrides from the command line: read, checked, and expanded to the grid of a sweep."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

from winnow.config.search_path import Choices
from winnow.errors import WinnowError, did_you_mean

INSTEAD = {
    "hydra.run": "set output_dir=FOLDER",
    "hydra.sweep": "set output_dir=FOLDER",
    "hydra/launcher": "choose one of Winnow's launchers, as launcher=joblib",
    "hydra.launcher": "choose one of Winnow's launchers, as launcher=joblib",
    "hydra/sweeper": "list the values of the grid",
    "hydra.sweeper": "list the values of the grid",
    "hydra.searchpath": "add the folder with --config-dir FOLDER",
}
"""What to do in place of an override that is not used."""


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Any:
    """Return an override as Hydra reads it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create().parse_override(text)


def is_readable(text: str, faults: list[WinnowError]) -> bool:
    """Tell whether Hydra can read an override."""
    from hydra.errors import HydraException

    try:
        parse(text)
    except HydraException as error:
        reason = str(error).splitlines()[0]
        faults.append(
            WinnowError(f"cannot be read as key=value ({reason}). Quote values with spaces or brackets.", text)
        )
        return False
    return True


def is_used(text: str, command: str, faults: list[WinnowError]) -> bool:
    """Tell whether a command uses an override; those that only a Hydra app would use are errors."""
    override = parse(text)
    key = override.key_or_group
    if not override.is_hydra_override():
        return True
    if key == "hydra.mode" and not override.is_sweep_override():  # an experiment's hydra.sweeper.params is used too
        return True
    hint = next((hint for start, hint in INSTEAD.items() if f"{key}.".startswith(f"{start}.")), "remove it")
    script = ", or run scripts/train.py, which uses it" if command == "train" else ""
    faults.append(WinnowError(f"winnow {command} does not use this key; {hint}{script}.", key))
    return False


def has_known_choice(choices: Choices, text: str, faults: list[WinnowError]) -> bool:
    """Check the choice of a group (`filter=nike_positve`) against the files there are."""
    override = parse(text)
    options = choices.get(override.key_or_group)
    value = override.value()
    if options is None or override.is_delete() or isinstance(value, dict):
        return True
    for choice in value if isinstance(value, list) else [value]:
        if choice is not None and not _is_choice(choices, override.key_or_group, str(choice)):
            allowed = ", ".join(options)
            near = did_you_mean(str(choice), options)
            faults.append(
                WinnowError(f"there is no choice {choice!r}.{near} Allowed: {allowed}.", override.key_or_group)
            )
            return False
    return True


def _is_choice(choices: Choices, group: str, choice: str) -> bool:
    """Tell whether a group has a choice, which may be in a folder of it (`experiment=team/mine`)."""
    folder, _, name = f"{group}/{choice}".rpartition("/")
    return name in choices.get(folder, ())


def forced(choices: Choices, text: str) -> str:
    """Turn `key=value` into `++key=value`, so that an unknown key reaches our own check."""
    override = parse(text)
    has_sign = override.is_add() or override.is_force_add() or override.is_delete()
    is_plain = not (has_sign or override.key_or_group.startswith("hydra"))
    return f"++{text}" if is_plain and override.key_or_group not in choices else text


def is_plain_value(choices: Choices, text: str) -> bool:
    """Tell whether an override sets a value whatever was there before: `++key=value`, and no choice of a group."""
    override = parse(text)
    return override.is_force_add() and override.package is None and override.key_or_group not in choices


def set_value(config: Any, text: str) -> None:
    """Set the value of a `++key=value` in a composed configuration, as Hydra does."""
    from omegaconf import OmegaConf

    override = parse(text)
    OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=True)


def of_single_run(overrides: list[str], faults: list[WinnowError]) -> list[str]:
    """Return the overrides of a single run, which takes one value a key."""
    for text in overrides:
        override = parse(text)
        if override.is_interval_sweep():
            faults.append(_no_interval(text))
        elif override.is_sweep_override():
            faults.append(
                WinnowError("several values were given to a single run. Add -m for a sweep.", text.split("=")[0])
            )
    return [text for text in overrides if not parse(text).is_sweep_override()]


def points_of_sweep(
    overrides: list[str], params: Mapping[str, str], choices: Choices, faults: list[WinnowError]
) -> list[list[str]]:
    """Expand a sweep to its grid, the last key changing fastest.

    Args:
        overrides: Those of the command line; a key given there replaces the experiment's, in its place.
        params: The experiment's `hydra.sweeper.params`.
        choices: The choices that `glob()` selects from.
        faults: Errors are added here.
    """
    given = {parse(text).get_key_element(): text for text in overrides}
    texts: dict[str, str] = {}
    for key, value in params.items():
        same = next((other for other in given if other.lstrip("+") == key.lstrip("+")), None)
        texts[key] = given.pop(same) if same else f"{key}={value}"
    readable = [text for text in [*texts.values(), *given.values()] if is_readable(text, faults)]
    axes = [axis for text in readable if (axis := _axis(text, choices, faults))]
    return [list(point) for point in itertools.product(*axes)]


def _axis(text: str, choices: Choices, faults: list[WinnowError]) -> list[str]:
    """Return the single overrides that a sweep over one key consists of; empty after an error."""
    from hydra.core.override_parser.types import Glob

    override = parse(text)
    key, value = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return [f"{key}={override.get_value_element_as_str()}"]
    if override.is_interval_sweep():
        faults.append(_no_interval(text))
        return []
    if not isinstance(value, Glob):
        return [f"{key}={one}" for one in override.sweep_string_iterator()]
    options = choices.get(override.key_or_group)
    names = value.filter(options or [])
    if options is None:
        faults.append(WinnowError("glob() selects choices of a config group, and this key is none.", key))
    elif not names:
        faults.append(WinnowError(f"{text.partition('=')[2]} matches no choice. Allowed: {', '.join(options)}.", key))
    return [f"{key}={name}" for name in names]


def _no_interval(text: str) -> WinnowError:
    told = "interval() has no single values, which only a search can draw; use range() or choice() with -m"
    return WinnowError(f"{told}.", text.split("=")[0])
