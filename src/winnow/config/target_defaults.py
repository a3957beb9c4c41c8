"""Check every `_target_` of a composed config, convert its arguments and fill in all defaults.

The check calls no code outside Winnow. Winnow's own classes are dataclasses whose construction only validates their
fields, so these classes are constructed. The arguments of all other classes are checked against the signature, and a
placeholder object represents the instance.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from winnow.config.config_groups import SINGLE_OBJECT_GROUPS, ConfigGroup, find_config_group
from winnow.config.construct import call_target
from winnow.config.plain_data import NodesByObjectId, field_names, fields_to_plain_data, to_plain_data
from winnow.config.target_types import AcceptedTypes, find_accepted_types
from winnow.config.targets import (
    Target,
    allowed_packages,
    describe_target,
    is_subclass,
    is_winnow_target,
    report_unknown_arguments,
    signature_parameters,
)
from winnow.config.validate import errors_from_pydantic
from winnow.errors import WinnowError

_NAMED_PARAMETER_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


CompletedNodes = dict[tuple[str, str], dict[str, Any]]
"""Nodes with their defaults added, keyed by the configuration key and the text of the original node."""


def fill_target_defaults(
    tree: Mapping[str, Any],
    allow: Iterable[str],
    errors: list[WinnowError],
    completed_nodes: CompletedNodes | None = None,
) -> dict[str, Any]:
    """Return a composed config with the default arguments of every `_target_` filled in.

    Defaults that cannot be stored as plain data, such as functions and objects from other packages, are omitted.

    Args:
        tree: The composed config as a nested dict.
        allow: The packages in `allow_targets`, whose classes are allowed in addition to the built-in targets.
        errors: A list to which an error is appended for each invalid value. Invalid nodes are returned unchanged.
        completed_nodes: Completed nodes of earlier cells, which are not checked again. New valid nodes are added.
    """
    filler = _DefaultsFiller(allowed_packages(allow), errors, {} if completed_nodes is None else completed_nodes)
    errors += [
        WinnowError(
            f"expected the import path of a class, got none. Select an option with {key}=NAME, or set {key}._target_.",
            f"{key}._target_",
        )
        for key in SINGLE_OBJECT_GROUPS
        if isinstance(node := tree.get(key), Mapping) and "_target_" not in node
    ]
    return filler.fill_nested_defaults(tree)


def find_defaulted_keys(stored: Mapping[str, Any], resolved: Mapping[str, Any], key: str = "") -> list[str]:
    """Return the keys of a resolved config whose values are current defaults, because the stored config lacks the keys.

    If a nested dict is missing or empty in the stored config, only its own key is returned.
    """
    missing: list[str] = []
    for name, value in resolved.items():
        path = f"{key}.{name}" if key else name
        known = stored.get(name)
        if name not in stored or (known == {} and value):
            missing.append(path)
        elif isinstance(value, Mapping) and isinstance(known, Mapping):
            missing += find_defaulted_keys({str(child): item for child, item in known.items()}, value, path)
    return missing


_INVALID_ARGUMENT: Final = object()
"""Placeholder for the value of an argument that has an error."""


class _Placeholder:
    """A placeholder for an instance of a class that must not be constructed during validation."""


def _create_placeholder(target: Target) -> _Placeholder:
    """Return a placeholder object that passes `isinstance` checks for `target`, without calling `target`."""
    placeholder: _Placeholder = type("_Placeholder", (_Placeholder,), {"__class__": target})()
    return placeholder


class _DefaultsFiller:
    def __init__(self, allowed: tuple[str, ...], errors: list[WinnowError], completed_nodes: CompletedNodes) -> None:
        self._allowed = allowed
        self._errors = errors
        self._completed_nodes = completed_nodes
        self._nodes: NodesByObjectId = {}

    def fill_nested_defaults(self, tree: Mapping[str, Any], key: str = "") -> dict[str, Any]:
        """Return a nested dict with the defaults of every `_target_` filled in."""
        complete: dict[str, Any] = {}
        for name, value in tree.items():
            path = f"{key}.{name}" if key else str(name)
            if not isinstance(value, Mapping):
                complete[name] = value
            elif "_target_" in value:
                complete[name] = self._complete_node(value, path)
            else:
                complete[name] = self.fill_nested_defaults(value, path)
        return complete

    def _complete_node(self, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Return a node with its defaults, or a copy of the node if it is invalid."""
        identity = (key, repr((node, self._allowed)))
        if identity not in self._completed_nodes:
            instance = self._build_object(node, key, find_config_group(key))
            if instance is None:
                return dict(node)
            self._completed_nodes[identity] = self._nodes[id(instance)][1]
        return self._completed_nodes[identity]

    def _build_value(self, value: Any, key: str, accepted: AcceptedTypes | None) -> Any:
        if isinstance(value, Mapping):
            if "_target_" in value:
                return self._build_object(value, key, accepted=accepted)
            return {name: self._build_value(item, f"{key}.{name}", accepted) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._build_value(item, f"{key}.{i}", accepted) for i, item in enumerate(value)]
        return value

    def _build_object(
        self, node: Mapping[str, Any], key: str, group: ConfigGroup | None = None, accepted: AcceptedTypes | None = None
    ) -> Any:
        """Return an object or a placeholder for a node, and store the completed node; `None` if the node is invalid."""
        error_count = len(self._errors)
        target = describe_target(str(node["_target_"]), f"{key}._target_", self._allowed, self._errors)
        if target is not None and group is not None:
            self._check_group(target, node, key, group)
        if target is not None and accepted is not None:
            self._errors += accepted.check(target, bool(node.get("_partial_", False)), node["_target_"], key)
        has_valid_type = target is not None and len(self._errors) == error_count
        arguments = self._build_arguments(target, node, key)
        if target is None or len(self._errors) > error_count:
            if has_valid_type and isinstance(target, type) and is_pydantic_dataclass(target):
                self._validate_fields(target, arguments, key)
            else:
                report_unknown_arguments(target, arguments, key, self._errors)
            return None
        is_partial = bool(node.get("_partial_", False)) or (group is not None and group.is_partial)
        checked = self._check_object(target, arguments, is_partial, key)
        if checked is None:
            return None
        instance, values = checked
        if group is not None and group.check is not None and (invalid := group.check(target, values, key)):
            self._errors += invalid
            return None
        head = {"_target_": node["_target_"]} | ({"_partial_": True} if is_partial else {})
        unsupported = group.unsupported_arguments if group is not None else {}
        completed = {name: value for name, value in values.items() if name not in unsupported}
        self._nodes[id(instance)] = (instance, head | completed)
        return instance

    def _build_arguments(self, target: Target | None, node: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Return the arguments of a node by name, with `_INVALID_ARGUMENT` for each argument that has an error."""
        arguments = {}
        for name, item in node.items():
            if name not in ("_target_", "_partial_"):
                error_count = len(self._errors)
                accepted = find_accepted_types(target, name) if target is not None else None
                value = self._build_value(item, f"{key}.{name}", accepted)
                arguments[name] = value if len(self._errors) == error_count else _INVALID_ARGUMENT
        return arguments

    def _check_group(self, target: Target, node: Mapping[str, Any], key: str, group: ConfigGroup) -> None:
        if inspect.isclass(target) and not is_subclass(target, group.base_class):
            self._errors.append(
                WinnowError(
                    f"expected a subclass of {group.base_class}, got {node['_target_']!r}. Set a class that inherits "
                    f"from {group.base_class}.",
                    f"{key}._target_",
                )
            )
        self._errors += [
            WinnowError(
                f"cannot be set to {node[name]!r}, because this argument is set by {instead}. Remove {key}.{name}.",
                f"{key}.{name}",
            )
            for name, instead in group.unsupported_arguments.items()
            if name in node
        ]

    def _check_object(
        self, target: Target, arguments: dict[str, Any], is_partial: bool, key: str
    ) -> tuple[Any, dict[str, Any]] | None:
        """Validate the arguments of a target.

        Returns:
            The constructed object or a placeholder, and all arguments with defaults as plain data; `None` if the
            arguments are invalid.
        """
        error_count = len(self._errors)
        instance: Any
        is_checked = isinstance(target, type) and is_pydantic_dataclass(target) and not inspect.isabstract(target)
        if is_partial:
            instance, values = functools.partial(target, **arguments), _add_signature_defaults(target, arguments)
            report_unknown_arguments(target, arguments, key, self._errors)
        elif not is_checked:
            instance, values = self._check_by_signature(target, arguments, key)
        elif is_winnow_target(target) and not _contains_placeholder(arguments):
            instance = call_target(target, arguments, key, self._errors)
            values = {name: getattr(instance, name, None) for name in field_names(target)}
        else:
            instance, values = _create_placeholder(target), self._validate_fields(target, arguments, key)
        if len(self._errors) > error_count:
            return None
        if isinstance(target, type) and is_checked and not is_partial:
            return instance, fields_to_plain_data(target, values, self._nodes)
        return instance, to_plain_data(values, self._nodes)

    def _check_by_signature(self, target: Target, arguments: dict[str, Any], key: str) -> tuple[Any, dict[str, Any]]:
        if not isinstance(target, type):
            return call_target(target, {}, key, self._errors), {}  # reports an error: functions need `_partial_: true`
        if inspect.isabstract(target):
            message = f"{target.__name__} is an abstract class. Set a concrete subclass of {target.__name__}."
            self._errors.append(WinnowError(message, f"{key}._target_"))
        report_unknown_arguments(target, arguments, key, self._errors)
        self._errors += [
            WinnowError(f"the value is missing. Set {key}.{parameter.name}=VALUE.", f"{key}.{parameter.name}")
            for parameter in signature_parameters(target)
            if parameter.kind in _NAMED_PARAMETER_KINDS
            and parameter.default is parameter.empty
            and parameter.name not in arguments
        ]
        return _create_placeholder(target), _add_signature_defaults(target, arguments)

    def _validate_fields(self, target: Any, arguments: dict[str, Any], key: str) -> dict[str, Any]:
        """Validate each argument of a pydantic dataclass separately, and return the validated values and defaults."""
        report_unknown_arguments(target, arguments, key, self._errors)
        values: dict[str, Any] = {}
        for name, info in target.__pydantic_fields__.items():
            if name in arguments:
                if arguments[name] is _INVALID_ARGUMENT:
                    continue
                try:
                    hint: Any = info.annotation
                    if info.metadata:
                        hint = typing.Annotated[hint, *info.metadata]
                    values[name] = TypeAdapter(hint).validate_python(arguments[name])
                except ValidationError as error:
                    self._errors.extend(errors_from_pydantic(error, f"{key}.{name}", lambda _: []))
            elif info.is_required():
                message = f"the value is missing. Set {key}.{name}=VALUE."
                self._errors.append(WinnowError(message, f"{key}.{name}"))
            elif (
                info.default_factory is None
                or is_winnow_target(target)
                or info.default_factory in (list, dict, set, tuple)
            ):
                values[name] = info.get_default(call_default_factory=True, validated_data={})
        return values


def _contains_placeholder(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_contains_placeholder, value.values()))
    return issubclass(type(value), _Placeholder) or (type(value) is list and any(map(_contains_placeholder, value)))


def _add_signature_defaults(target: Target, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a target by name, with defaults for all other parameters.

    Integers are converted to floats for parameters that expect floats.
    """
    values: dict[str, Any] = {}
    floats, listed = _float_arguments(target), signature_parameters(target)
    # The first argument of a user-defined function is the data that Winnow passes, so it has no configured value.
    data = listed[0] if listed and not isinstance(target, type) else None
    for parameter in listed:
        if parameter.name in arguments:
            values[parameter.name] = arguments[parameter.name]
        elif (
            parameter is not data
            and parameter.kind in _NAMED_PARAMETER_KINDS
            and parameter.default is not parameter.empty
        ):
            values[parameter.name] = _get_parameter_default(target, parameter)
        if parameter.name in floats and type(values.get(parameter.name)) is int:
            values[parameter.name] = float(values[parameter.name])
    return {**values, **{name: value for name, value in arguments.items() if name not in values}}


def _get_parameter_default(target: Target, parameter: inspect.Parameter) -> Any:
    """Return the default value of a parameter, including new containers from a dataclass field's default factory."""
    fields = dataclasses.fields(target) if dataclasses.is_dataclass(target) else ()
    factories = {
        field.name: field.default_factory for field in fields if field.default_factory in (list, dict, set, tuple)
    }
    return factories[parameter.name]() if parameter.name in factories else parameter.default


def _float_arguments(target: Target) -> set[str]:
    """Return the names of the parameters annotated with `float` but not `int`, or with a float default."""
    called: Any = target
    try:
        hints = typing.get_type_hints(called.__init__ if isinstance(target, type) else called)
    except Exception:  # an annotation in another package may not be evaluable
        hints = {}
    kinds = {name: [hint, *typing.get_args(hint)] for name, hint in hints.items()}
    kinds = {
        parameter.name: kinds.get(parameter.name, [type(parameter.default)])
        for parameter in signature_parameters(target)
    }
    return {name for name, kind in kinds.items() if float in kind and int not in kind}
