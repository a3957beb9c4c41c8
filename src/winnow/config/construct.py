"""Construct the objects that `_target_` names. Targets must be on an allow-list, and each error names its key.

A target must be a class from an allowed package or, with `_partial_: true`, a user-defined function. Its arguments are
validated before the call: by pydantic if the class is a pydantic dataclass, as Winnow's classes are, and against its
signature in all other cases.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from winnow.config.targets import Target, allowed_packages, argument_names, locate, report_unknown_arguments
from winnow.config.validate import errors_from_pydantic
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
        key: The key of the node in the configuration, for error messages.
        expected: The class that the object must be an instance of.
        allow: Packages from `allow_targets`, which are added to the allow-list.

    Raises:
        WinnowErrors: If the node is invalid. It contains all errors at or below `key`.
    """
    errors: list[WinnowError] = []
    instance = _construct(node, key, allowed_packages(allow), errors)
    if not errors and expected is not None and not isinstance(instance, expected):
        name = f"{expected.__module__.rsplit('.', 1)[0]}.{expected.__name__}"
        errors.append(WinnowError(f"expected a subclass of {name}, got {node.get('_target_')!r}.", f"{key}._target_"))
    if errors:
        raise WinnowErrors(errors)
    return instance


def _construct(value: Any, key: str, allowed: Sequence[str], errors: list[WinnowError]) -> Any:
    """Construct nested objects first. Return `None` for a node that has an error."""
    if isinstance(value, Mapping):
        error_count = len(errors)
        arguments = {
            name: _construct(item, f"{key}.{name}", allowed, errors)
            for name, item in value.items()
            if name not in ("_target_", "_partial_")
        }
        if "_target_" not in value:
            return arguments
        target = locate(str(value["_target_"]), f"{key}._target_", allowed, errors)
        if target is None or len(errors) > error_count:
            report_unknown_arguments(target, arguments, key, errors)
            return None
        if value.get("_partial_", False):
            report_unknown_arguments(target, arguments, key, errors)
            return functools.partial(target, **arguments)
        return call(target, arguments, key, errors)
    if isinstance(value, list | tuple):
        return [_construct(item, f"{key}.{i}", allowed, errors) for i, item in enumerate(value)]
    return value


def call(target: Target, arguments: dict[str, Any], key: str, errors: list[WinnowError]) -> Any:
    """Call a target. If it rejects its arguments, add the errors to `errors` and return `None`."""
    if inspect.isfunction(target):
        errors.append(
            WinnowError(
                f"expected a class, got the function {target.__name__}. Add `_partial_: true` to pass the function.",
                key,
            )
        )
        return None
    try:
        return target(**arguments)
    except ValidationError as error:
        errors.extend(errors_from_pydantic(error, key, lambda _: argument_names(target)))
    except WinnowErrors as raised:
        errors.extend(error.with_prefix(key) for error in raised.errors)
    except WinnowError as error:
        errors.append(error.with_prefix(key))
    except (TypeError, ValueError) as error:
        errors.append(WinnowError(f"{target.__name__} rejected its arguments: {error}. Change them.", key))
    return None
