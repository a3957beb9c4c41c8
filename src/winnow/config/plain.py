"""Convert dataclasses and other typed values to dicts, lists, strings and numbers that YAML can store."""

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
"""The return value for objects that cannot be converted to plain data, such as functions.

Converted mappings and lists omit such objects.
"""

Nodes = dict[int, tuple[Any, dict[str, Any]]]
"""Constructed objects, each with the configuration node that describes it, keyed by the `id` of the object."""


def plain(value: Any, nodes: Nodes | None = None, with_target: bool = False) -> Any:
    """Convert a value to dicts, lists, strings and numbers. Return `OMITTED` if the value cannot be converted.

    Args:
        value: A dataclass instance, a container or a scalar.
        nodes: The objects that are replaced with their configuration nodes.
        with_target: Whether to add `_target_` to dataclass instances that are not in `nodes`. Required if the type
            annotation of a field does not determine the class of its value.
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
    """Convert the field values of a dataclass to plain data. Values that cannot be converted are omitted."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return _without_omitted(
        (name, plain(value, nodes, _takes_instances(hints.get(name)))) for name, value in values.items()
    )


def field_names(cls: Any) -> list[str]:
    """Return the names of the dataclass fields that are constructor arguments."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def flat(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf in a nested dict. Lists and empty dicts are leaves."""
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and value:
            yield from flat(value, path)
        else:
            yield path, value


def _without_omitted(items: typing.Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not OMITTED}


def _takes_instances(hint: Any) -> bool:
    """Return whether a type hint contains `InstanceOf`, as in `dict[str, InstanceOf[Signal]]`."""
    extras = getattr(hint, "__metadata__", ())
    has_marker = any(isinstance(extra, InstanceOf) for extra in extras)  # type: ignore[misc]  # a class at run time
    return has_marker or any(_takes_instances(argument) for argument in typing.get_args(hint))
