"""What pydantic finds wrong, told with one clear error a key: what was given, what is allowed, what was meant."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from winnow.errors import WinnowError, did_you_mean

Config = TypeVar("Config")
Location = tuple[int | str, ...]


def validate(tree: dict[str, Any], schema: type[Config], faults: list[WinnowError]) -> Config | None:
    """Return the tree as an instance of `schema`, or `None` with what is wrong added to `faults`."""
    try:
        return TypeAdapter(schema).validate_python(tree)
    except ValidationError as error:
        faults.extend(faults_of(error, "", lambda location: _keys_at(schema, location)))
    return None


def missing_values(tree: Any, key: str = "") -> Iterator[WinnowError]:
    """Yield an error for each value that the configuration leaves open (`???`)."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from missing_values(value, f"{key}.{name}" if key else str(name))
    elif tree == "???":
        yield WinnowError(f"a value is needed. Give it as {key}=VALUE.", key)


def faults_of(
    error: ValidationError, key: str, options_at: Callable[[Location], Sequence[str]]
) -> Iterator[WinnowError]:
    """Yield one error for each fault that pydantic found.

    Args:
        error: What pydantic raised.
        key: Where the checked object stands in the configuration.
        options_at: The keys that are allowed at a location inside the object.
    """
    for detail in error.errors(include_url=False):
        full = ".".join([*([key] if key else []), *map(str, detail["loc"])])
        given = detail["input"]
        match detail["type"]:
            case "unexpected_keyword_argument" | "extra_forbidden":
                yield unknown_key(full, options_at(detail["loc"][:-1]))
            case "missing" | "missing_argument" | "missing_keyword_only_argument":
                yield WinnowError(f"a value is needed. Give it as {full}=VALUE.", full)
            case "literal_error" | "enum":
                allowed = str(detail["ctx"]["expected"])
                choices = [choice.strip(" '") for choice in allowed.replace(" or ", ",").split(",")]
                yield WinnowError(f"{given!r} was given.{did_you_mean(str(given), choices)} Allowed: {allowed}.", full)
            case _:
                rule = detail["msg"].removeprefix("Value error, ").rstrip(".")
                yield WinnowError(f"{_short(given)} was given. {rule}.", full)


def unknown_key(full: str, options: Sequence[str]) -> WinnowError:
    """Return the error for a key that nobody reads."""
    allowed = ", ".join(sorted(options))
    return WinnowError(
        f"there is no such key.{did_you_mean(full.rpartition('.')[2], options)} Allowed: {allowed}.", full
    )


def _keys_at(schema: Any, location: Location) -> list[str]:
    """Return the keys of the dataclass at a location below `schema`."""
    for part in location:
        schema = typing.get_type_hints(schema).get(str(part)) if dataclasses.is_dataclass(schema) else None
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def _short(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
