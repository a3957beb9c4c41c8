"""Check that each `_target_` has a type that its parent accepts, before any object is constructed."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, Final

from pydantic.dataclasses import is_pydantic_dataclass

from winnow.config.class_skeletons import is_skeleton
from winnow.config.config_groups import TRAINER_OBJECTS, import_class
from winnow.config.targets import (
    Target,
    allowed_packages,
    describe_class,
    describe_target,
    is_library_target,
    is_subclass,
    is_winnow_target,
    shortest_import_path,
)
from winnow.errors import WinnowError

_VALUE_TYPES: Final = (str, bytes, int, float, bool, list, tuple, set, frozenset, dict, type(None), Enum, PurePath)


@dataclass(frozen=True)
class AcceptedTypes:
    """The targets that an argument accepts.

    Attributes:
        classes: The base classes of accepted classes.
        accepts_functions: Whether functions and partial objects are accepted.
    """

    classes: tuple[type, ...] = ()
    accepts_functions: bool = False

    def check(self, target: Target, is_partial: bool, path: Any, key: str) -> list[WinnowError]:
        """Return an error if a target is not accepted.

        Args:
            target: The class or function.
            is_partial: Whether the node has `_partial_: true`, so that the target is not called.
            path: The value of `_target_`.
            key: The configuration key of the node.
        """
        if inspect.isfunction(target) or is_partial:
            # The caller reports functions without `_partial_: true`.
            is_accepted = self.accepts_functions or not is_partial
        else:
            is_accepted = any(_is_accepted(target, cls) for cls in self.classes)
        if is_accepted:
            return []
        names = [f"a subclass of {shortest_import_path(cls)}" for cls in self.classes]
        names += ["a function with `_partial_: true`"] if self.accepts_functions else []
        expected = (
            " or ".join(names) or "a number, a text, a list or a mapping, because this argument accepts no object"
        )
        return [WinnowError(f"expected {expected}, got {path!r}. Correct or remove the target.", f"{key}._target_")]


def find_accepted_types(parent: Target, argument: str) -> AcceptedTypes | None:
    """Return the targets that an argument accepts, or `None` if any target is accepted.

    Args:
        parent: The class or function that has the argument.
        argument: The name of the argument.
    """
    if isinstance(parent, type) and is_pydantic_dataclass(parent):
        field = parent.__pydantic_fields__.get(argument)
        return None if field is None else _find_types(field.annotation)
    if is_winnow_target(parent) or is_library_target(parent):
        nested = TRAINER_OBJECTS.get(argument) if _is_trainer(parent) else None
        return AcceptedTypes((describe_class(nested),) if nested else ())
    return None


def check_target_types(
    node: Mapping[str, Any], key: str, allow: Iterable[str], expected: type | None, is_partial_group: bool = False
) -> list[WinnowError]:
    """Return an error for each target in a node that is not allowed or has the wrong type. No object is constructed.

    Args:
        node: The node of a configuration.
        key: The configuration key of the node.
        allow: Packages from `allow_targets`.
        expected: The required base class of the node's target; `None` accepts any class.
        is_partial_group: Whether Winnow adds arguments later, so that the node may have `_partial_: true`.
    """
    errors: list[WinnowError] = []
    accepted = AcceptedTypes((expected,)) if expected is not None else None
    checked_node = {**node, "_partial_": False} if is_partial_group else node
    _check_value(checked_node, key, allowed_packages(allow), accepted, errors)
    return errors


def _check_value(
    value: Any, key: str, allowed: Sequence[str], accepted: AcceptedTypes | None, errors: list[WinnowError]
) -> None:
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _check_value(item, f"{key}.{i}", allowed, accepted, errors)
    if not isinstance(value, Mapping):
        return
    target = None
    if "_target_" in value:
        target = describe_target(str(value["_target_"]), f"{key}._target_", allowed, errors)
        if target is not None and accepted is not None:
            errors += accepted.check(target, bool(value.get("_partial_", False)), value["_target_"], key)
    for name, item in value.items():
        if name in ("_target_", "_partial_"):
            continue
        item_types = accepted if "_target_" not in value else find_accepted_types(target, name) if target else None
        _check_value(item, f"{key}.{name}", allowed, item_types, errors)


def _find_types(annotation: Any) -> AcceptedTypes:
    """Return the types that an annotation such as `dict[str, Signal] | None` accepts, apart from simple value types."""
    classes: list[type] = []
    functions = False
    pending = [annotation]
    while pending:
        hint = pending.pop()
        if hint is Callable or typing.get_origin(hint) is Callable:
            functions = True
        elif arguments := typing.get_args(hint):
            pending += arguments
        elif isinstance(hint, type) and not issubclass(hint, _VALUE_TYPES):
            classes.append(hint)
        elif hint is Any:
            classes.append(object)
            functions = True
    return AcceptedTypes(tuple(reversed(classes)), functions)


def _is_trainer(target: Target) -> bool:
    return isinstance(target, type) and is_subclass(target, "pytorch_lightning.Trainer")


def _is_accepted(target: Any, accepted_class: type) -> bool:
    """Return whether a class is a subclass of an accepted class. Either class may be a skeleton."""
    if is_skeleton(accepted_class) and not is_skeleton(target):
        accepted_class = import_class(f"{accepted_class.__module__}.{accepted_class.__name__}")
    return issubclass(target, accepted_class)
