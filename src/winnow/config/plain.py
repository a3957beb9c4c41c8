"""Convert typed values to plain data for YAML."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import InstanceOf

from winnow.config.targets import public_path

OMITTED: Final = object()
"""Placeholder for values that cannot be plain data, such as functions. Mappings and lists omit these values."""

Nodes = dict[int, tuple[Any, dict[str, Any]]]
"""Objects and their configuration, keyed by the `id` of the object."""


def plain(value: Any, nodes: Nodes | None = None, with_target: bool = False) -> Any:
    """Return a value as mappings, lists, strings and numbers.

    Args:
        value: A dataclass, a container or a single value.
        nodes: Objects that are replaced with their configuration.
        with_target: Whether to add `_target_` to other dataclass instances, because a field's type does not determine
            their class.
    """
    if nodes and id(value) in nodes:
        return nodes[id(value)][1]
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _without_omitted((str(name), plain(item, nodes, with_target)) for name, item in value.items())
    if isinstance(value, list | tuple):
        items = [plain(item, nodes, with_target) for item in value]
        return [item for item in items if item is not OMITTED]
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {name: getattr(value, name) for name in field_names(type(value))}
        target = {"_target_": public_path(type(value))} if with_target else {}
        return target | plain_fields(type(value), values, nodes)
    return OMITTED


def plain_fields(cls: type, values: Mapping[str, Any], nodes: Nodes | None = None) -> dict[str, Any]:
    """Return the values of a dataclass's fields as plain data."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return _without_omitted(
        (name, plain(value, nodes, _takes_instances(hints.get(name)))) for name, value in values.items()
    )


def field_names(cls: Any) -> list[str]:
    """Return the names of the init fields of a dataclass."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def flat(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and value of each leaf in a tree. Lists and empty mappings are leaves."""
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and value:
            yield from flat(value, path)
        else:
            yield path, value


def _without_omitted(items: typing.Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not OMITTED}


def _takes_instances(hint: Any) -> bool:
    """Return whether a field holds objects (such as `dict[str, InstanceOf[Signal]]`) rather than settings."""
    extras = getattr(hint, "__metadata__", ())
    has_marker = any(isinstance(extra, InstanceOf) for extra in extras)  # type: ignore[misc]  # a class at run time
    return has_marker or any(_takes_instances(argument) for argument in typing.get_args(hint))
