"""Convert dataclasses and other typed values to dicts, lists, strings and numbers that YAML can store."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import InstanceOf

from winnow.config.targets import shortest_import_path

OMITTED: Final = object()
"""The return value for objects that cannot be converted to plain data, such as functions.

Converted mappings and lists omit such objects.
"""

NodesByObjectId = dict[int, tuple[Any, dict[str, Any]]]
"""Constructed objects, each with the configuration node that describes it, keyed by the `id` of the object."""


def to_plain_data(value: Any, nodes: NodesByObjectId | None = None, with_target: bool = False) -> Any:
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
        return to_plain_data(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return _drop_omitted((str(name), to_plain_data(item, nodes, with_target)) for name, item in value.items())
    if isinstance(value, list | tuple):
        items = [to_plain_data(item, nodes, with_target) for item in value]
        return [item for item in items if item is not OMITTED]
    if isinstance(value, set | frozenset):
        return sorted(to_plain_data(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {name: getattr(value, name) for name in field_names(type(value))}
        target = {"_target_": shortest_import_path(type(value))} if with_target else {}
        return target | fields_to_plain_data(type(value), values, nodes)
    return OMITTED


def fields_to_plain_data(cls: type, values: Mapping[str, Any], nodes: NodesByObjectId | None = None) -> dict[str, Any]:
    """Convert the field values of a dataclass to plain data. Values that cannot be converted are omitted."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return _drop_omitted(
        (name, to_plain_data(value, nodes, _contains_instance_of(hints.get(name)))) for name, value in values.items()
    )


def field_names(cls: Any) -> list[str]:
    """Return the names of the dataclass fields that are constructor arguments."""
    return [field.name for field in dataclasses.fields(cls) if field.init]


def flatten_config(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf in a nested dict. Lists and empty dicts are leaves."""
    for name, value in tree.items():
        path = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping) and value:
            yield from flatten_config(value, path)
        else:
            yield path, value


def _drop_omitted(items: typing.Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in items if value is not OMITTED}


def _contains_instance_of(hint: Any) -> bool:
    """Return whether a type hint contains `InstanceOf`, as in `dict[str, InstanceOf[Signal]]`."""
    extras = getattr(hint, "__metadata__", ())
    has_marker = any(isinstance(extra, InstanceOf) for extra in extras)  # type: ignore[misc]  # a class at run time
    return has_marker or any(_contains_instance_of(argument) for argument in typing.get_args(hint))
