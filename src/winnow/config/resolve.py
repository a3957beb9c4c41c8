"""Complete a composed tree: every `_target_` checked, its arguments typed, every default written out.

Nothing from outside Winnow is called. An object of Winnow's own classes is constructed to check it, since they are
dataclasses that only compare their fields with one another. Classes of other packages, and of the user, are checked by
name and signature, and a stand-in takes their place in what contains them.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from winnow.config.construct import call
from winnow.config.groups import GROUPS, Group, group_of
from winnow.config.plain import Nodes, field_names, plain, plain_fields
from winnow.config.targets import (
    Target,
    allowed_packages,
    is_own,
    locate,
    parameters,
    report_unknown_arguments,
)
from winnow.config.validate import faults_of
from winnow.errors import WinnowError

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def resolve(tree: Mapping[str, Any], allow: Iterable[str], faults: list[WinnowError]) -> dict[str, Any]:
    """Return a composed tree in which each node with a `_target_` is complete.

    Defaults that plain data cannot hold (functions, objects of other packages) are left out.

    Args:
        tree: What Hydra composed.
        allow: Packages that the user's `allow_targets` adds to the allow-list.
        faults: Receives one error for each value that does not fit; such a node stays as it is.
    """
    resolver = _Resolver(allowed_packages(allow), faults)
    faults += [
        WinnowError("a class is needed here. Choose a file of this group, or name a class.", f"{key}._target_")
        for key in GROUPS
        if isinstance(node := tree.get(key), Mapping) and "_target_" not in node
    ]
    return resolver.completed(tree)


def defaults_of_now(stored: Mapping[str, Any], resolved: Mapping[str, Any], key: str = "") -> list[str]:
    """Return the keys that a stored tree does not have and that the tree resolved from it has by a default.

    A group that the stored tree does not have at all, or has empty, is one key.
    """
    found: list[str] = []
    for name, value in resolved.items():
        path = f"{key}.{name}" if key else name
        known = stored.get(name)
        if name not in stored or (known == {} and value):
            found.append(path)
        elif isinstance(value, Mapping) and isinstance(known, Mapping):
            found += defaults_of_now({str(one): part for one, part in known.items()}, value, path)
    return found


class _StandIn:
    """Stands for an object that is not constructed."""


def _stand_in(target: Target) -> _StandIn:
    """Return what `isinstance` takes for an instance of a class that is never called."""
    stand_in: _StandIn = type("_StandIn", (_StandIn,), {"__class__": target})()
    return stand_in


class _Resolver:
    def __init__(self, allowed: tuple[str, ...], faults: list[WinnowError]) -> None:
        self._allowed = allowed
        self._faults = faults
        self._nodes: Nodes = {}

    def completed(self, tree: Mapping[str, Any], key: str = "") -> dict[str, Any]:
        """Return a tree with its outermost nodes completed."""
        complete: dict[str, Any] = {}
        for name, value in tree.items():
            path = f"{key}.{name}" if key else str(name)
            if not isinstance(value, Mapping):
                complete[name] = value
            elif "_target_" in value:
                made = self._object(value, path, group_of(path))
                complete[name] = dict(value) if made is None else self._nodes[id(made)][1]
            else:
                complete[name] = self.completed(value, path)
        return complete

    def _value(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            if "_target_" in value:
                return self._object(value, key)
            return {name: self._value(part, f"{key}.{name}") for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._value(part, f"{key}.{i}") for i, part in enumerate(value)]
        return value

    def _object(self, node: Mapping[str, Any], key: str, group: Group | None = None) -> Any:
        """Return an object, or a stand-in, for a node, and keep the completed node; `None` after an error."""
        before = len(self._faults)
        target = locate(str(node["_target_"]), f"{key}._target_", self._allowed, self._faults)
        if target is not None and group is not None:
            self._check_group(target, node, key, group)
        given = {name: part for name, part in node.items() if name not in ("_target_", "_partial_")}
        arguments = {name: self._value(part, f"{key}.{name}") for name, part in given.items()}
        if target is None or len(self._faults) > before:
            report_unknown_arguments(target, arguments, key, self._faults)
            return None
        is_partial = bool(node.get("_partial_", False)) or (group is not None and group.is_partial)
        checked = self._checked(target, arguments, is_partial, key)
        if checked is None:
            return None
        made, values = checked
        head = {"_target_": node["_target_"]} | ({"_partial_": True} if is_partial else {})
        decided = group.decided if group is not None else {}
        completed = {name: value for name, value in values.items() if name not in decided}
        self._nodes[id(made)] = (made, head | completed)
        return made

    def _check_group(self, target: Target, node: Mapping[str, Any], key: str, group: Group) -> None:
        module, _, name = group.expected.rpartition(".")
        expected = getattr(importlib.import_module(module), name)
        if inspect.isclass(target) and not issubclass(target, expected):
            self._faults.append(WinnowError(f"{node['_target_']!r} is not a {group.expected}.", f"{key}._target_"))
        self._faults += [
            WinnowError(f"this is decided by {instead}. Set that, and leave this out.", f"{key}.{name}")
            for name, instead in group.decided.items()
            if name in node
        ]

    def _checked(
        self, target: Target, arguments: dict[str, Any], is_partial: bool, key: str
    ) -> tuple[Any, dict[str, Any]] | None:
        """Return an object or a stand-in and the plain values of its arguments, or `None` after an error."""
        before = len(self._faults)
        made: Any
        is_checked = isinstance(target, type) and is_pydantic_dataclass(target) and not inspect.isabstract(target)
        if is_partial:
            made, values = functools.partial(target, **arguments), _by_signature(target, arguments)
            report_unknown_arguments(target, arguments, key, self._faults)
        elif not is_checked:
            made, values = self._by_signature_alone(target, arguments, key)
        elif is_own(target) and not _has_stand_in(arguments):
            made = call(target, arguments, key, self._faults)
            values = {name: getattr(made, name, None) for name in field_names(target)}
        else:
            made, values = _stand_in(target), self._by_field(target, arguments, key)
        if len(self._faults) > before:
            return None
        if isinstance(target, type) and is_checked and not is_partial:
            return made, plain_fields(target, values, self._nodes)
        return made, plain(values, self._nodes)

    def _by_signature_alone(self, target: Target, arguments: dict[str, Any], key: str) -> tuple[Any, dict[str, Any]]:
        if not isinstance(target, type):
            return call(target, {}, key, self._faults), {}  # adds the error that a function has to be a partial
        if inspect.isabstract(target):
            told = f"{target.__name__} is abstract. Name a class that is derived from it."
            self._faults.append(WinnowError(told, f"{key}._target_"))
        report_unknown_arguments(target, arguments, key, self._faults)
        self._faults += [
            WinnowError(f"a value is needed. Give it as {key}.{one.name}=VALUE.", f"{key}.{one.name}")
            for one in parameters(target)
            if one.kind in _BY_NAME and one.default is one.empty and one.name not in arguments
        ]
        return _stand_in(target), _by_signature(target, arguments)

    def _by_field(self, target: Any, arguments: dict[str, Any], key: str) -> dict[str, Any]:
        """Return the typed fields of a pydantic dataclass, each checked by itself."""
        report_unknown_arguments(target, arguments, key, self._faults)
        values: dict[str, Any] = {}
        for name, info in target.__pydantic_fields__.items():
            if name in arguments:
                try:
                    hint: Any = info.annotation
                    if info.metadata:
                        hint = typing.Annotated[hint, *info.metadata]
                    values[name] = TypeAdapter(hint).validate_python(arguments[name])
                except ValidationError as error:
                    self._faults.extend(faults_of(error, f"{key}.{name}", lambda _: []))
            elif info.is_required():
                told = f"a value is needed. Give it as {key}.{name}=VALUE."
                self._faults.append(WinnowError(told, f"{key}.{name}"))
            elif info.default_factory is None or is_own(target) or info.default_factory in (list, dict, set, tuple):
                values[name] = info.get_default(call_default_factory=True, validated_data={})
        return values


def _has_stand_in(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_stand_in, value.values()))
    return issubclass(type(value), _StandIn) or (type(value) is list and any(map(_has_stand_in, value)))


def _by_signature(target: Target, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given arguments and the defaults of the others; a whole number is a float if the signature says so."""
    values: dict[str, Any] = {}
    floats, found = _float_arguments(target), parameters(target)
    # A function of the user's own gets its first argument from Winnow, by position.
    data = found[0] if found and not isinstance(target, type) else None
    for one in found:
        if one.name in arguments:
            values[one.name] = arguments[one.name]
        elif one is not data and one.kind in _BY_NAME and one.default is not one.empty:
            values[one.name] = _default(target, one)
        if one.name in floats and type(values.get(one.name)) is int:
            values[one.name] = float(values[one.name])
    return {**values, **{name: value for name, value in arguments.items() if name not in values}}


def _default(target: Target, parameter: inspect.Parameter) -> Any:
    """Return a default, also that of a dataclass field whose factory is a built-in type."""
    fields = dataclasses.fields(target) if dataclasses.is_dataclass(target) else ()
    factories = {one.name: one.default_factory for one in fields if one.default_factory in (list, dict, set, tuple)}
    return factories[parameter.name]() if parameter.name in factories else parameter.default


def _float_arguments(target: Target) -> set[str]:
    """Return the arguments that are annotated as `float` and not also as `int`, or have such a default."""
    called: Any = target
    try:
        hints = typing.get_type_hints(called.__init__ if isinstance(target, type) else called)
    except Exception:  # an annotation of another package that cannot be evaluated
        hints = {}
    kinds = {name: {hint, *typing.get_args(hint)} for name, hint in hints.items()}
    kinds = {one.name: kinds.get(one.name, {type(one.default)}) for one in parameters(target)}
    return {name for name, kind in kinds.items() if float in kind and int not in kind}
