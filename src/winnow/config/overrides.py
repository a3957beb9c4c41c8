"""The folders of configuration, and what was typed against them: overrides read, looked up and spread over a sweep."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from winnow.errors import WinnowError, did_you_mean

Choices = dict[str, list[str]]


def conf_folder() -> Path:
    """Return the folder of Winnow's own configuration: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def describe_choices() -> Choices:
    """Return the choices of each group in `conf/`, and in the user's own `./conf`, for `--help`."""
    choices: dict[str, set[str]] = {}
    for folder in (conf_folder(), Path.cwd() / "conf"):
        for path in sorted(folder.rglob("*.yaml")):
            group = path.parent.relative_to(folder).as_posix()
            if group != ".":
                choices.setdefault(group, set()).add(path.stem)
    return {group: sorted(names) for group, names in sorted(choices.items())}


def users_folder(faults: list[WinnowError]) -> list[str]:
    """Let `./conf` join the search path, unless it is Winnow's own or hides one of Winnow's files."""
    theirs, ours = Path.cwd() / "conf", conf_folder()
    if not theirs.is_dir() or theirs.resolve() == ours:
        return []
    for path in sorted(theirs.rglob("*.yaml")):
        name = path.relative_to(theirs)
        if (ours / name).exists():
            faults.append(
                WinnowError(
                    "has the name of a file that comes with Winnow and would never be read. Rename it.",
                    f"conf/{name}",
                )
            )
    escaped = str(theirs).replace("\\", "\\\\").replace("'", "\\'")
    return [f"hydra.searchpath=['file://{escaped}']"]


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


def has_known_choice(choices: Choices, text: str, faults: list[WinnowError]) -> bool:
    """Check the choice of a group (`filter=nike_positve`) against the files there are."""
    override = parse(text)
    options = choices.get(override.key_or_group)
    if options is None or override.is_delete():
        return True
    value = override.value()
    for choice in value if isinstance(value, list) else [value]:
        if choice is not None and str(choice) not in options:
            allowed = ", ".join(options)
            near = did_you_mean(str(choice), options)
            faults.append(
                WinnowError(f"there is no choice {choice!r}.{near} Allowed: {allowed}.", override.key_or_group)
            )
            return False
    return True


def forced(choices: Choices, text: str) -> str:
    """Turn `key=value` into `++key=value`, so that an unknown key reaches our own check."""
    override = parse(text)
    is_plain = not (override.is_add() or override.is_delete() or override.key_or_group.startswith("hydra"))
    return f"++{text}" if is_plain and override.key_or_group not in choices else text


def of_single_run(overrides: list[str], faults: list[WinnowError]) -> list[str]:
    """Return the overrides of a single run, which takes one value a key."""
    for text in overrides:
        if parse(text).is_sweep_override():
            faults.append(
                WinnowError("several values were given to a single run. Add -m for a sweep.", text.split("=")[0])
            )
    return [text for text in overrides if not parse(text).is_sweep_override()]


def points_of_sweep(overrides: list[str], params: dict[str, str], faults: list[WinnowError]) -> list[list[str]]:
    """Expand a sweep to its grid; a key given on the command line replaces the experiment's."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    given = {parse(text).get_key_element(): text for text in overrides}
    texts = {key: given.pop(key, f"{key}={value}") for key, value in params.items()} | given
    parsed = [parse(text) for text in texts.values() if is_readable(text, faults)]
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(point) for point in batches[0]]
