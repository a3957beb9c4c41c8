"""Format the list of configuration keys in a command's `--help`, from the schema and the files in `conf/`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow import config
from winnow.config import builtin_config_folder
from winnow.config.config_store import default_to_plain_data, pydantic_fields

COMMAND_SCHEMAS: dict[str, type[Any]] = {
    "train": config.TrainConfig,
    "filter": config.FilterConfig,
    "evaluate": config.EvaluateConfig,
    "fill": config.FillConfig,
    "compare": config.CompareConfig,
    "plan": config.PlanConfig,
    "search": config.SearchConfig,
    "rerun": config.RerunConfig,
    "runs": config.RunsConfig,
    "export": config.ExportConfig,
    "ui": config.UiConfig,
    "doctor": config.StoreConfig,
    "sync": config.StoreConfig,
    "promote": config.StoreConfig,
    "push": config.StoreConfig,
}
HELP_LINE_WIDTH = 100


@dataclass(frozen=True)
class ConfigKey:
    """The documentation of a configuration key.

    Attributes:
        name: The full dotted key.
        default: The default value as YAML; `???` if the key has no default.
        type: The type as shown to the user, such as `int > 0`.
        meaning: The first sentence of the key's documentation.
    """

    name: str
    default: str
    type: str
    meaning: str


def format_keys(command: str) -> str:
    """Return a text that lists each key of a command with its default, type and meaning."""
    if command not in COMMAND_SCHEMAS:
        return ""
    lines = ["keys, as KEY=DEFAULT (type); --choices lists the options of each config group:"]
    for key in list_keys(command):
        lines.append(f"  {key.name}={key.default}  ({key.type})".replace("=???", "=VALUE"))
        lines.append(textwrap.fill(key.meaning, HELP_LINE_WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines) + "\n"


def list_keys(command: str) -> list[ConfigKey]:
    """Return the documentation of each configuration key of a command, in the order of the schema.

    The list is empty if the command has no configuration.
    """
    schema = COMMAND_SCHEMAS.get(command)
    if schema is None:
        return []
    root = "store" if schema is config.StoreConfig else command
    tree = yaml.safe_load((builtin_config_folder() / f"{root}.yaml").read_text(encoding="utf-8"))
    groups = {
        group: choice for entry in tree.pop("defaults") if isinstance(entry, dict) for group, choice in entry.items()
    }
    return list(_iterate_keys(schema, "", {**tree, **groups}, groups))


def _iterate_keys(
    schema: type[Any], prefix: str, defaults: Mapping[str, Any], groups: Collection[str]
) -> Iterator[ConfigKey]:
    # A key that several commands share may be documented only in `TrainConfig`.
    meanings = {**read_field_docs(config.TrainConfig), **read_field_docs(schema)}
    for name, field in pydantic_fields(schema).items():
        annotation: Any = field.annotation
        is_nested = dataclasses.is_dataclass(annotation)
        if is_nested:
            yield from _iterate_keys(annotation, f"{prefix}{name}.", {}, ())
            continue
        value = "???" if field.is_required() else default_to_plain_data(field.get_default(call_default_factory=True))
        default = yaml.safe_dump(defaults.get(name, value), default_flow_style=True, width=HELP_LINE_WIDTH)
        default = default.removesuffix("...\n").strip().strip("'")
        meaning = meanings.get(name, "")
        type_name = _format_type(annotation) + _format_bounds(field.metadata)
        yield ConfigKey(f"{prefix}{name}", default, "config group" if name in groups else type_name, meaning)


def read_field_docs(schema: type[Any]) -> dict[str, str]:
    """Return the first sentence about each field in the `Attributes:` section of a schema docstring, by field name."""
    section = (inspect.getdoc(schema) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.split(r"(?<=\.)\s", " ".join(text.split()))[0] for name, text in entries}


def _format_type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _format_type(arguments[0]) + _format_bounds(arguments[1:])
    if origin is typing.Literal:
        return "|".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if member is types.NoneType else _format_type(member) for member in arguments)
    if origin is list:
        return f"list of {_format_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    return "path" if annotation is Path else str(annotation.__name__)


def _format_bounds(metadata: Any) -> str:
    """Return the bounds of a numeric field as text, such as ` > 0`, or an empty string if there are none."""
    limits = [limit for entry in metadata for limit in (getattr(entry, "metadata", None) or [entry])]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(limit, name)}" for limit in limits for name, sign in signs.items() if hasattr(limit, name)
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
