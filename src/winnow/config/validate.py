"""Validate a configuration against its schema, and convert pydantic errors to `WinnowError`s with suggestions."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from winnow.errors import WinnowError, did_you_mean

Config = TypeVar("Config")
Location = tuple[int | str, ...]

_UNION_MEMBER = re.compile(r"(constrained-)?(str|int|float)|(list|dict|tuple|function-[a-z]+)\[.*\]")
"""Matches the names that pydantic adds to the location of an error in a union."""


def validate_against_schema(tree: dict[str, Any], schema: type[Config], errors: list[WinnowError]) -> Config | None:
    """Return a nested dict as an instance of `schema`. If it is invalid, append to `errors` and return `None`."""
    try:
        return TypeAdapter(schema).validate_python(tree)
    except ValidationError as error:
        errors.extend(errors_from_pydantic(error, "", lambda location: list_schema_keys(schema, location)))
    return None


def find_missing_values(tree: Any, key: str = "") -> Iterator[WinnowError]:
    """Yield an error for each missing value (`???`) in a nested dict."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from find_missing_values(value, f"{key}.{name}" if key else str(name))
    elif tree == "???":
        yield WinnowError(f"the value is missing. Set {key}=VALUE.", key)


def errors_from_pydantic(
    error: ValidationError, key: str, options_at: Callable[[Location], Sequence[str]]
) -> Iterator[WinnowError]:
    """Yield a `WinnowError` for each error in a pydantic exception.

    Args:
        error: The exception raised by pydantic.
        key: The configuration key of the validated object.
        options_at: A function that returns the allowed keys of the nested object at a location.
    """
    for detail in _select_union_errors(error):
        names = [
            str(name) for name in detail["loc"] if name != "[key]"
        ]  # pydantic adds [key] for an invalid key of a mapping
        location = [name for name in names if not _UNION_MEMBER.fullmatch(name)]
        full = ".".join([*([key] if key else []), *location])
        given = detail["input"]
        match detail["type"]:
            case "unexpected_keyword_argument" | "extra_forbidden":
                yield unknown_key_error(full, options_at(detail["loc"][:-1]))
            case "missing" | "missing_argument" | "missing_keyword_only_argument":
                yield WinnowError(f"the value is missing. Set {full}=VALUE.", full)
            case "literal_error" | "enum":
                allowed = str(detail["ctx"]["expected"])
                choices = [choice.strip(" '") for choice in allowed.replace(" or ", ",").split(",")]
                yield WinnowError(
                    f"got {_shorten(given)}.{did_you_mean(str(given), choices)} Allowed: {allowed}.", full
                )
            case _:
                requirement = detail["msg"].removeprefix("Value error, ").rstrip(".")
                yield WinnowError(f"got {_shorten(given)}. {requirement}.", full)


def _select_union_errors(error: ValidationError) -> list[Any]:
    """Return pydantic's errors, with a single error for each union such as `str | list[str]`.

    Pydantic reports one error per member of a union. An error about the value is preferred to an error about the type.
    """
    selected: dict[Location, Any] = {}
    for number, detail in enumerate(error.errors(include_url=False)):
        location = tuple(name for name in detail["loc"] if not _UNION_MEMBER.fullmatch(str(name)))
        is_union = len(location) < len(detail["loc"])
        unique = (*location, "union") if is_union else (*location, number)
        if unique not in selected or selected[unique]["type"].endswith("_type"):
            selected[unique] = detail
    return list(selected.values())


def unknown_key_error(full: str, options: Sequence[str]) -> WinnowError:
    """Return an error that an unknown key was set, with the allowed keys and the closest match.

    Args:
        full: The full dotted key.
        options: The allowed keys at the same level.
    """
    allowed = ", ".join(sorted(options))
    return WinnowError(f"unknown key.{did_you_mean(full.rpartition('.')[2], options)} Allowed: {allowed}.", full)


def list_schema_keys(schema: Any, location: Location) -> list[str]:
    """Return the field names of the nested dataclass at a location in `schema`, or an empty list if there is none."""
    for name in location:
        schema = typing.get_type_hints(schema).get(str(name)) if dataclasses.is_dataclass(schema) else None
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def _shorten(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
