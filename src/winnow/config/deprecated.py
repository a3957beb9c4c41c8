"""Renamed configuration keys, choices and target classes. Old names still work but print a warning."""

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
    "masking=chosen_words": "masking=listed_words",
    "masking=falling": "masking=decreasing",
    "tracking.unsent": "tracking.spool",
    "training.keep_rows_apart": "training.isolate_rows",
}
"""Old names mapped to new names, for keys and for `group=choice` pairs. A key includes all keys below it."""

RENAMED_TARGETS: dict[str, str] = {
    "winnow.filters.Field": "winnow.filters.Column",
    "winnow.filters.Python": "winnow.filters.PythonFunction",
    "winnow.filters.Without": "winnow.filters.LeaveOneOut",
    "winnow.training.ChosenWordMasking": "winnow.training.ListedWordMasking",
}
"""Old import paths of target classes, mapped to the new ones."""

MARK: Final = "_deprecated_"
"""Key that the alias of a renamed choice adds to the composed tree; its value is the old `group=choice` pair."""

_OVERRIDE = re.compile(r"(?P<sign>[+~]*)(?P<key>[^=@]+)(?P<package>@[^=]*)?(?P<value>=.*)?", re.DOTALL)


def renamed_choices() -> Iterator[tuple[str, str, str]]:
    """Yield the group, the old name and the new name of each renamed choice."""
    for old, new in RENAMED_KEYS.items():
        group, is_choice, choice = old.partition("=")
        if is_choice:
            yield group, choice, new.partition("=")[2]


@functools.cache
def warn(old: str, new: str) -> None:
    """Print a deprecation warning to stderr, at most once per process for each name."""
    print(f"winnow: {old} is deprecated; use {new}.", file=sys.stderr)


def rename_override(text: str) -> str:
    """Return an override in which old names of keys and choices are replaced with the current names.

    >>> rename_override("seed=1,2")
    'seed=1,2'
    """
    match = _OVERRIDE.fullmatch(text)
    if match is None:
        return text
    key = _rename_key(match["key"])
    value = match["value"] or ""
    for group, old, new in renamed_choices():
        if group == key:
            renamed = re.sub(rf"(?<![\w./-]){re.escape(old)}(?![\w./-])", new, value)
            if renamed != value:
                warn(f"{group}={old}", f"{group}={new}")
                value = renamed
    return f"{match['sign']}{key}{match['package'] or ''}{value}"


def _rename_key(key: str) -> str:
    for old, new in RENAMED_KEYS.items():
        if key == old or key.startswith(f"{old}."):
            renamed = new + key[len(old) :]
            warn(key, renamed)
            return renamed
    return key


def rename_tree(tree: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration tree in which keys and target classes have their current names.

    If a tree has both the old and the new key, the value of the old key is used, because in a composed tree the new key
    only has its default value.
    """
    renamed: dict[str, Any] = copy.deepcopy(dict(tree))
    for old, new in RENAMED_KEYS.items():
        if "=" not in old:
            _move(renamed, old, new)
    _rename_nodes(renamed)
    return renamed


def load_stored_tree(text: str) -> dict[str, Any]:
    """Parse a stored `resolved.yaml` and convert names written by earlier versions to the current names."""
    return rename_tree(yaml.safe_load(text))


def _move(tree: dict[str, Any], old: str, new: str) -> None:
    *path, name = old.split(".")
    parent = _descend(tree, path, create=False)
    if parent is None or name not in parent:
        return
    value = parent.pop(name)
    if isinstance(value, dict) and value:
        for key in value:
            warn(f"{old}.{key}", f"{new}.{key}")
    else:
        warn(old, new)
    *path, name = new.split(".")
    parent = _descend(tree, path, create=True)
    if parent is not None:
        current = parent.get(name)
        parent[name] = {**current, **value} if isinstance(current, dict) and isinstance(value, dict) else value


def _descend(tree: dict[str, Any], path: list[str], create: bool) -> dict[str, Any] | None:
    """Return the mapping at a path, or `None` if there is none."""
    node: Any = tree
    for name in path:
        if not isinstance(node, dict):
            return None
        node = node.setdefault(name, {}) if create else node.get(name)
    return node if isinstance(node, dict) else None


def _rename_nodes(node: Any) -> None:
    """Rename the target classes in a node and below it, and remove the marks of renamed choices."""
    if isinstance(node, list):
        for item in node:
            _rename_nodes(item)
    if not isinstance(node, dict):
        return
    if mark := node.pop(MARK, None):
        warn(mark, RENAMED_KEYS[mark])
    target = node.get("_target_")
    if isinstance(target, str) and target in RENAMED_TARGETS:
        warn(target, RENAMED_TARGETS[target])
        node["_target_"] = RENAMED_TARGETS[target]
    for value in node.values():
        _rename_nodes(value)
