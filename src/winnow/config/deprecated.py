"""Deprecated names of configuration keys, config group options and target classes, which still work with a warning."""

from __future__ import annotations

import copy
import functools
import re
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any, Final

import yaml

RENAMED_KEYS: dict[str, str] = {
    "arithmetic": "numerics",
    "dataset.split.together": "dataset.split.group_by",
    "evaluation.pseudo_rows": "evaluation.pseudo_likelihood_rows",
    "filter=without": "filter=leave_one_out",
    "launcher.threads": "numerics.threads",
    "masking=chosen_words": "masking=listed_words",
    "masking=falling": "masking=decreasing",
    "tracking.unsent": "tracking.spool",
    "training.keep_rows_apart": "training.isolate_rows",
}
"""Deprecated configuration keys and `group=option` pairs, mapped to the current ones.

Renaming a key also renames all keys nested under it.
"""

RENAMED_TARGETS: dict[str, str] = {
    "winnow.filters.Field": "winnow.filters.Column",
    "winnow.filters.Python": "winnow.filters.PythonFunction",
    "winnow.filters.Without": "winnow.filters.LeaveOneOut",
    "winnow.training.ChosenWordMasking": "winnow.training.ListedWordMasking",
}
"""Deprecated import paths of target classes, mapped to the current import paths."""

DEPRECATED_OPTION_KEY: Final = "_deprecated_"
"""A key that marks a composed config in which a deprecated option was selected.

The value is the deprecated `group=option` pair.
"""

_OVERRIDE_PATTERN = re.compile(r"(?P<sign>[+~]*)(?P<key>[^=@]+)(?P<package>@[^=]*)?(?P<value>=.*)?", re.DOTALL)


def renamed_options() -> Iterator[tuple[str, str, str]]:
    """Yield the config group, the deprecated name and the current name of each renamed option."""
    for old, new in RENAMED_KEYS.items():
        group, is_choice, choice = old.partition("=")
        if is_choice:
            yield group, choice, new.partition("=")[2]


@functools.cache
def warn_deprecated(old: str, new: str) -> None:
    """Print a deprecation warning to stderr, at most once per process for each pair of names."""
    print(f"winnow: {old} is deprecated; use {new}.", file=sys.stderr)


def rename_deprecated_override(text: str) -> str:
    """Replace deprecated keys and option names in an override with the current names, and return the override.

    >>> rename_deprecated_override("seed=1,2")
    'seed=1,2'
    """
    match = _OVERRIDE_PATTERN.fullmatch(text)
    if match is None:
        return text
    key = _rename_key(match["key"])
    value = match["value"] or ""
    for group, old, new in renamed_options():
        if group == key:
            renamed = re.sub(rf"(?<![\w./-]){re.escape(old)}(?![\w./-])", new, value)
            if renamed != value:
                warn_deprecated(f"{group}={old}", f"{group}={new}")
                value = renamed
    return f"{match['sign']}{key}{match['package'] or ''}{value}"


def _rename_key(key: str) -> str:
    for old, new in RENAMED_KEYS.items():
        if key == old or key.startswith(f"{old}."):
            renamed = new + key[len(old) :]
            warn_deprecated(key, renamed)
            return renamed
    return key


def rename_deprecated_keys(tree: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested configuration dict in which deprecated keys and target classes are renamed.

    If both the deprecated and the current key are present, the value of the deprecated key is used, because the user
    set that key and the current key has only its default value.
    """
    renamed: dict[str, Any] = copy.deepcopy(dict(tree))
    for old, new in RENAMED_KEYS.items():
        if "=" not in old:
            _move_key(renamed, old, new)
    _rename_deprecated_targets(renamed)
    return renamed


def load_stored_config(text: str) -> dict[str, Any]:
    """Parse the YAML text of a stored `resolved.yaml` and return its configuration with deprecated names replaced."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the compiled loader is eight times faster
    return rename_deprecated_keys(yaml.load(text, Loader=loader))  # noqa: S506 - both loaders are safe


def _move_key(tree: dict[str, Any], old: str, new: str) -> None:
    *path, name = old.split(".")
    parent = _find_nested_dict(tree, path, create=False)
    if parent is None or name not in parent:
        return
    value = parent.pop(name)
    if isinstance(value, dict) and value:
        for key in value:
            warn_deprecated(f"{old}.{key}", f"{new}.{key}")
    else:
        warn_deprecated(old, new)
    *path, name = new.split(".")
    parent = _find_nested_dict(tree, path, create=True)
    if parent is not None:
        current = parent.get(name)
        parent[name] = {**current, **value} if isinstance(current, dict) and isinstance(value, dict) else value


def _find_nested_dict(tree: dict[str, Any], path: list[str], create: bool) -> dict[str, Any] | None:
    """Return the nested dict at a path of keys. If it is missing, create it if `create` is true, or return `None`."""
    node: Any = tree
    for name in path:
        if not isinstance(node, dict):
            return None
        node = node.setdefault(name, {}) if create else node.get(name)
    return node if isinstance(node, dict) else None


def _rename_deprecated_targets(node: Any) -> None:
    """Rename deprecated target classes in a node and all nested nodes, in place, and remove the deprecation markers."""
    if isinstance(node, list):
        for item in node:
            _rename_deprecated_targets(item)
    if not isinstance(node, dict):
        return
    if mark := node.pop(DEPRECATED_OPTION_KEY, None):
        warn_deprecated(mark, RENAMED_KEYS[mark])
    target = node.get("_target_")
    if isinstance(target, str) and target in RENAMED_TARGETS:
        warn_deprecated(target, RENAMED_TARGETS[target])
        node["_target_"] = RENAMED_TARGETS[target]
    for value in node.values():
        _rename_deprecated_targets(value)
