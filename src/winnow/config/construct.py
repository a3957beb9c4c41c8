"""Construct an object for each `_target_` in a configuration.

A target must be a class from an allowed package or, with `_partial_: true`, a user-defined function. Pydantic validates
the arguments of pydantic dataclasses, which include all of Winnow's target classes. The arguments of any other target
are checked against its signature. Each error contains the configuration key of the invalid value.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from winnow.config.class_skeletons import is_skeleton
from winnow.config.config_groups import find_config_group
from winnow.config.target_types import check_target_types
from winnow.config.targets import (
    DeferredTarget,
    Target,
    allowed_packages,
    argument_names,
    describe_class,
    describe_target,
    import_target,
    report_unknown_arguments,
)
from winnow.config.validate import Location, errors_from_pydantic, list_schema_keys
from winnow.errors import WinnowError, WinnowErrors

T = TypeVar("T")


@overload
def construct(node: Mapping[str, Any], key: str, expected: type[T], allow: Iterable[str] = ()) -> T: ...
@overload
def construct(node: Mapping[str, Any], key: str, expected: None = None, allow: Iterable[str] = ()) -> Any: ...
def construct(node: Mapping[str, Any], key: str, expected: type[T] | None = None, allow: Iterable[str] = ()) -> T | Any:
    """Construct the object that a configuration node describes.

    Args:
        node: A mapping with `_target_`, its keyword arguments and, for a callable, `_partial_: true`.
        key: The configuration key of the node, used in error messages.
        expected: The class that the object must be an instance of. It is checked before any object is constructed.
        allow: The packages in `allow_targets`, whose classes are allowed in addition to the built-in targets.

    Raises:
        WinnowErrors: If the node or any node nested in it is invalid. The exception contains one error per invalid
            value.
    """
    group = find_config_group(key)
    base_class = expected or (describe_class(group.base_class) if group is not None else None)
    if errors := check_target_types(node, key, allow, base_class, group is not None and group.is_partial):
        raise WinnowErrors(errors)
    instance = _construct_value(node, key, allowed_packages(allow), errors)
    if errors:
        raise WinnowErrors(errors)
    return instance


def _construct_value(value: Any, key: str, allowed: Sequence[str], errors: list[WinnowError]) -> Any:
    """Construct the object for a value, after all objects nested in it. Return `None` if a nested value is invalid."""
    if isinstance(value, Mapping):
        error_count = len(errors)
        arguments = {
            name: _construct_value(item, f"{key}.{name}", allowed, errors)
            for name, item in value.items()
            if name not in ("_target_", "_partial_")
        }
        if "_target_" not in value:
            return arguments
        is_partial = bool(value.get("_partial_", False))
        find_target = describe_target if is_partial else import_target
        target = find_target(str(value["_target_"]), f"{key}._target_", allowed, errors)
        if target is None or len(errors) > error_count:
            report_unknown_arguments(target, arguments, key, errors)
            return None
        if is_partial:
            report_unknown_arguments(target, arguments, key, errors)
            called = DeferredTarget(str(value["_target_"])) if is_skeleton(target) else target
            return functools.partial(called, **arguments)
        return call_target(target, arguments, key, errors)
    if isinstance(value, list | tuple):
        return [_construct_value(item, f"{key}.{i}", allowed, errors) for i, item in enumerate(value)]
    return value


def _list_keys(target: Target, location: Location) -> list[str]:
    """Return the keys at a location in the arguments of a target."""
    return list_schema_keys(target, location) if location else argument_names(target)


def call_target(target: Target, arguments: dict[str, Any], key: str, errors: list[WinnowError]) -> Any:
    """Call a target and return the result. If the arguments are invalid, append to `errors`."""
    if inspect.isfunction(target):
        errors.append(
            WinnowError(
                f"expected a class, got the function {target.__name__}. To pass the function itself, add "
                "`_partial_: true`.",
                key,
            )
        )
        return None
    try:
        return target(**arguments)
    except ValidationError as error:
        errors.extend(errors_from_pydantic(error, key, functools.partial(_list_keys, target)))
    except WinnowErrors as raised:
        errors.extend(error.with_prefix(key) for error in raised.errors)
    except WinnowError as error:
        errors.append(error.with_prefix(key))
    except (TypeError, ValueError) as error:
        errors.append(WinnowError(f"cannot construct {target.__name__}: {error}. Correct the arguments of {key}.", key))
    return None
