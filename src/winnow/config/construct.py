"""The one way from `_target_` to an object: allow-listed, checked, every fault with its key.

A target must be a class that an allowed package defines, or, under `_partial_: true`, a function of the user's own. Its
arguments are checked before it is called: by pydantic where the class is a pydantic dataclass (Winnow's own are), by
its signature elsewhere.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from winnow.config.targets import Target, allowed_packages, argument_names, locate, report_unknown_arguments
from winnow.config.validate import faults_of
from winnow.errors import WinnowError, WinnowErrors

T = TypeVar("T")


@overload
def construct(node: Mapping[str, Any], key: str, expected: type[T], allow: Iterable[str] = ()) -> T: ...
@overload
def construct(node: Mapping[str, Any], key: str, expected: None = None, allow: Iterable[str] = ()) -> Any: ...
def construct(node: Mapping[str, Any], key: str, expected: type[T] | None = None, allow: Iterable[str] = ()) -> T | Any:
    """Make the object that a node of the configuration describes.

    Args:
        node: A mapping with `_target_`, its keyword arguments and, where a callable is wanted, `_partial_: true`.
        key: Where the node stands in the configuration, for error messages.
        expected: The class that the object must be an instance of.
        allow: Packages that the user's `allow_targets` adds to the allow-list.

    Raises:
        WinnowErrors: With every fault found below `key`.
    """
    faults: list[WinnowError] = []
    made = _construct(node, key, allowed_packages(allow), faults)
    if not faults and expected is not None and not isinstance(made, expected):
        name = f"{expected.__module__.rsplit('.', 1)[0]}.{expected.__name__}"
        faults.append(WinnowError(f"{node.get('_target_')!r} is not a {name}.", f"{key}._target_"))
    if faults:
        raise WinnowErrors(faults)
    return made


def _construct(value: Any, key: str, allowed: Sequence[str], faults: list[WinnowError]) -> Any:
    """Construct bottom-up; a part with a fault becomes `None` and is not used further."""
    if isinstance(value, Mapping):
        before = len(faults)
        parts = {
            name: _construct(part, f"{key}.{name}", allowed, faults)
            for name, part in value.items()
            if name not in ("_target_", "_partial_")
        }
        if "_target_" not in value:
            return parts
        target = locate(str(value["_target_"]), f"{key}._target_", allowed, faults)
        if target is None or len(faults) > before:
            report_unknown_arguments(target, parts, key, faults)
            return None
        if value.get("_partial_", False):
            report_unknown_arguments(target, parts, key, faults)
            return functools.partial(target, **parts)
        return call(target, parts, key, faults)
    if isinstance(value, list | tuple):
        return [_construct(part, f"{key}.{i}", allowed, faults) for i, part in enumerate(value)]
    return value


def call(target: Target, parts: dict[str, Any], key: str, faults: list[WinnowError]) -> Any:
    """Return what a target returns, or `None` with what it raised about its arguments added to `faults`."""
    if inspect.isfunction(target):
        faults.append(
            WinnowError(f"{target.__name__} is a function. Add `_partial_: true` to pass it without calling it.", key)
        )
        return None
    try:
        return target(**parts)
    except ValidationError as error:
        faults.extend(faults_of(error, key, lambda _: argument_names(target)))
    except WinnowErrors as errors:
        faults.extend(error.with_prefix(key) for error in errors.errors)
    except WinnowError as error:
        faults.append(error.with_prefix(key))
    except (TypeError, ValueError) as error:
        faults.append(WinnowError(f"{target.__name__} does not accept these arguments: {error}", key))
    return None
