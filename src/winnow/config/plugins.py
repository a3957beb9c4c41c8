"""Find installed packages that extend Winnow through the entry point group `winnow.plugins`.

The value of an entry point is the name of a plugin package. Classes of a plugin package are allowed as `_target_`, and
its `conf` subfolder, if present, is added to the config search path. Only installed packages have entry points, so a
config file cannot extend the list of allowed targets.
"""

from __future__ import annotations

import functools
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ENTRY_POINT_GROUP: Final = "winnow.plugins"


def plugin_packages() -> tuple[str, ...]:
    """Return the import names of all installed plugin packages in alphabetical order."""
    return _list_entry_points(tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _list_entry_points(search_path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of the entry points, which are read from every installed package on the search path."""
    return tuple(sorted({point.value for point in entry_points(group=ENTRY_POINT_GROUP)}))


def plugin_config_folders() -> list[Path]:
    """Return the `conf` folders of all installed plugin packages, without importing the packages."""
    folders = []
    for package in plugin_packages():
        spec = find_spec(package) if "." not in package else None
        folders += [Path(location) / "conf" for location in (spec.submodule_search_locations or [])] if spec else []
    return [folder for folder in folders if folder.is_dir()]
