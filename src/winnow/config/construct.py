"""The one way from `_target_` to an object: allow-listed, checked, every fault with its key.

A target must be a class that an allowed package defines, or, under `_partial_: true`, a function of the user's own. Its
arguments are checked before it is called: by pydantic where the class is a pydantic dataclass (Winnow's own are), by
its signature elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from winnow.config.validate import faults_of, unknown_key
from winnow.errors import WinnowError, WinnowErrors, did_you_mean

ALLOWED_PACKAGES = (
    "winnow.data",
    "winnow.filters",
    "winnow.training",
    "winnow.evaluation",
    "winnow.tracking",
    "winnow.studies",
    "torch.optim",
    "pytorch_lightning",
)

T = TypeVar("T")
Target = Callable[..., Any]
"""A class, or a function of the user's own."""


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
    made = _construct(node, key, (*ALLOWED_PACKAGES, *allow), faults)
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
        target = _locate(str(value["_target_"]), f"{key}._target_", allowed, faults)
        if target is None or len(faults) > before:
            _report_unknown_arguments(target, parts, key, faults)
            return None
        return _call(target, parts, bool(value.get("_partial_", False)), key, faults)
    if isinstance(value, list | tuple):
        return [_construct(part, f"{key}.{i}", allowed, faults) for i, part in enumerate(value)]
    return value


def _locate(path: str, key: str, allowed: Sequence[str], faults: list[WinnowError]) -> Target | None:
    module_name, _, name = path.rpartition(".")
    if not _within(module_name, allowed):
        listed = ", ".join(allowed)
        faults.append(
            WinnowError(
                f"{path!r} is not on the list of allowed targets. Allowed are classes of {listed}. To use your own "
                f"class, add its package: allow_targets=[{path.split('.', 1)[0]}].",
                key,
            )
        )
        return None
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        faults.append(WinnowError(f"{path!r} cannot be imported: {error}.", key))
        return None
    target = getattr(module, name, None)
    # The class must be at home in an allowed package: `winnow.data.csv.os.system` is reachable, and is no component.
    if inspect.isfunction(target) and _within(target.__module__, allowed[len(ALLOWED_PACKAGES) :]):
        return target
    if not inspect.isclass(target) or not _within(target.__module__, allowed):
        options = [option for option in dir(module) if inspect.isclass(getattr(module, option, None))]
        faults.append(WinnowError(f"{module_name} has no class {name!r}.{did_you_mean(name, options)}", key))
        return None
    return target


def _within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _call(target: Target, parts: dict[str, Any], partial: bool, key: str, faults: list[WinnowError]) -> Any:
    if partial:
        _report_unknown_arguments(target, parts, key, faults)
        return functools.partial(target, **parts)
    if inspect.isfunction(target):
        faults.append(
            WinnowError(f"{target.__name__} is a function; add `_partial_: true` to hand it on uncalled.", key)
        )
        return None
    try:
        return target(**parts)
    except ValidationError as error:
        faults.extend(faults_of(error, key, lambda _: _parameters(target)))
    except WinnowErrors as errors:
        faults.extend(error.under(key) for error in errors.errors)
    except WinnowError as error:
        faults.append(error.under(key))
    except (TypeError, ValueError) as error:
        faults.append(WinnowError(f"{target.__name__} does not accept these arguments: {error}", key))
    return None


def _report_unknown_arguments(
    target: Target | None, parts: dict[str, Any], key: str, faults: list[WinnowError]
) -> None:
    """Name arguments that the target does not have, also where it cannot be called for other faults."""
    options = _parameters(target) if target is not None else []
    for name in parts:
        if options and name not in options:
            faults.append(unknown_key(f"{key}.{name}", options))


def _parameters(target: Target) -> list[str]:
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return []
    return [parameter.name for parameter in parameters]
