"""Import the class or function of a `_target_`, if its package is allowed, and inspect its signature."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from winnow.config.class_skeletons import (
    SKELETON_PACKAGES,
    NotStaticError,
    build_skeleton,
    is_skeleton,
    list_class_names,
)
from winnow.config.config_groups import LIBRARY_BASE_CLASSES, import_class
from winnow.config.permissions import is_refused
from winnow.config.plugins import plugin_packages
from winnow.config.validate import unknown_key_error
from winnow.errors import WinnowError, did_you_mean

BUILTIN_TARGET_PACKAGES = (
    "winnow.data",
    "winnow.filters",
    "winnow.training",
    "winnow.evaluation",
    "winnow.tracking",
    "winnow.studies",
    "torch.optim",
    "pytorch_lightning",
)

Target = Callable[..., Any]
"""A class or a user-defined function that can be the value of `_target_`."""


def allowed_packages(allow: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the packages whose classes are allowed as targets: built-in packages, `allow_targets` and plugins."""
    return (*BUILTIN_TARGET_PACKAGES, *allow, *plugin_packages())


def import_target(path: str, key: str, allowed: Sequence[str], errors: list[WinnowError]) -> Target | None:
    """Import and return a target. If the import path is not valid or not allowed, append to `errors` and return `None`.

    Args:
        path: The import path of the target, such as `winnow.filters.Filter`.
        key: The configuration key of the import path, used in error messages.
        allowed: The allowed packages, as returned by :func:`allowed_packages`.
        errors: A list to which an error is appended.
    """
    module_name, _, name = path.rpartition(".")
    if is_refused(path):
        message = f"{path!r} is never allowed, because its package can run any command or change any file."
        errors.append(WinnowError(f"{message} Use a class of Winnow or of your own package.", key))
        return None
    if not _is_in_packages(module_name, allowed):
        listed = ", ".join(allowed)
        errors.append(
            WinnowError(
                f"{path!r} is not on the list of allowed targets. Allowed: classes in {listed}. To use a class of your "
                f"own, add its package on the command line: allow_targets=[{path.split('.', 1)[0]}].",
                key,
            )
        )
        return None
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a module can raise any exception
        reason = " ".join(str(error).split())[:200] or "no reason given"
        cause = reason if isinstance(error, ImportError) else f"{type(error).__name__}: {reason}"
        errors.append(_build_import_error(path, cause, key))
        return None
    target = getattr(module, name, None)
    # An allowed import path is not enough: `winnow.data.csv.os.system` starts with an allowed package but runs code
    # from another package. The class must therefore be defined in an allowed package.
    if inspect.isfunction(target) and _is_in_packages(target.__module__, allowed[len(BUILTIN_TARGET_PACKAGES) :]):
        return target
    if not inspect.isclass(target) or not _is_in_packages(target.__module__, allowed):
        options = [option for option in dir(module) if inspect.isclass(getattr(module, option, None))]
        errors.append(_build_missing_class_error(module_name, name, options, key))
        return None
    return target if _is_configurable(target, path, key, errors) else None


def describe_target(path: str, key: str, allowed: Sequence[str], errors: list[WinnowError]) -> Target | None:
    """Return a target for checks: a skeleton if importing the package of the class is slow, or else the target itself.

    The arguments and the reported errors are the same as in :func:`import_target`.
    """
    module_name, _, name = path.rpartition(".")
    if not (_is_in_packages(module_name, SKELETON_PACKAGES) and _is_in_packages(module_name, allowed)):
        return import_target(path, key, allowed, errors)
    try:
        skeleton = build_skeleton(path)
        if skeleton is None or not _is_in_packages(skeleton.__module__, allowed):
            errors.append(_build_missing_class_error(module_name, name, list_class_names(module_name), key))
            return None
        return skeleton if _is_configurable(skeleton, path, key, errors) else None
    except ModuleNotFoundError as error:
        errors.append(_build_import_error(path, str(error), key))
        return None
    except NotStaticError:
        return import_target(path, key, allowed, errors)


def describe_class(path: str) -> type:
    """Return the skeleton of a class if importing its package is slow, or else the class itself."""
    if _is_in_packages(path, SKELETON_PACKAGES):
        try:
            return build_skeleton(path) or import_class(path)
        except NotStaticError:
            pass
    return import_class(path)


def is_subclass(target: type, base: str) -> bool:
    """Return whether a class or its skeleton is a subclass of the class at an import path.

    Raises:
        NotStaticError: If the target is a skeleton, and the base class can be described only by importing it.
    """
    base_class = build_skeleton(base) if is_skeleton(target) else import_class(base)
    return base_class is not None and issubclass(target, base_class)


class DeferredTarget:
    """A class whose package is imported when the class is first called.

    Args:
        path: The import path of the class.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.__name__ = path.rpartition(".")[2]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Import the class and return a new instance."""
        return import_class(self._path)(*arguments, **options)


def _is_configurable(target: type, path: str, key: str, errors: list[WinnowError]) -> bool:
    """Return whether a configuration can use a class. Append to `errors` if it cannot."""
    if not is_library_target(target) or any(is_subclass(target, base) for base in LIBRARY_BASE_CLASSES):
        return True
    message = f"{path!r} cannot be used in a configuration. Allowed: subclasses of {', '.join(LIBRARY_BASE_CLASSES)}."
    errors.append(WinnowError(f"{message} Choose one of these.", key))
    return False


def _build_import_error(path: str, cause: str, key: str) -> WinnowError:
    return WinnowError(f"cannot import {path!r}: {cause}. Check the path and whether the package is installed.", key)


def _build_missing_class_error(module: str, name: str, class_names: Sequence[str], key: str) -> WinnowError:
    message = f"{module} has no class {name!r}.{did_you_mean(name, class_names)} Correct the import path."
    return WinnowError(message, key)


def is_winnow_target(target: Target) -> bool:
    """Return whether a target is defined in the `winnow` package."""
    return _is_in_packages(target.__module__, ("winnow",))


def is_library_target(target: Target) -> bool:
    """Return whether a target is defined in PyTorch or Lightning."""
    return _is_in_packages(target.__module__, ("torch", "pytorch_lightning"))


def shortest_import_path(target: type) -> str:
    """Return the shortest import path of a class, such as `winnow.filters.Filter` for a class in a submodule."""
    parts = target.__module__.split(".")
    for end in range(2, len(parts)):
        package = ".".join(parts[:end])
        if getattr(sys.modules.get(package), target.__name__, None) is target:
            return f"{package}.{target.__name__}"
    return f"{target.__module__}.{target.__name__}"


def report_unknown_arguments(target: Target | None, names: Iterable[str], key: str, errors: list[WinnowError]) -> None:
    """Append an error for each name that is not an argument of the target."""
    options = argument_names(target) if target is not None else []
    for name in names:
        if options and name not in options:
            errors.append(unknown_key_error(f"{key}.{name}", options))


def argument_names(target: Target) -> list[str]:
    """Return the names of a target's arguments, or an empty list if it accepts arbitrary keyword arguments."""
    listed = signature_parameters(target)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in listed):
        return []
    return [parameter.name for parameter in listed]


def signature_parameters(target: Target) -> list[inspect.Parameter]:
    """Return a target's parameters, or an empty list if it has no signature, as is the case for some C classes."""
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:
        return []


def _is_in_packages(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
