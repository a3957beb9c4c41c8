"""The keys of a command's configuration for its `--help`, read from the schema and from `conf/`."""

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
from winnow.config import conf_folder
from winnow.config.config_store import fields_of, plain

SCHEMAS: dict[str, type[Any]] = {
    "train": config.TrainConfig,
    "filter": config.FilterConfig,
    "evaluate": config.EvaluateConfig,
    "fill": config.FillConfig,
    "compare": config.CompareConfig,
    "rerun": config.RerunConfig,
    "export": config.ExportConfig,
    "ui": config.UiConfig,
    "sync": config.StoreConfig,
    "promote": config.StoreConfig,
    "push": config.StoreConfig,
}
WIDTH = 100


@dataclass(frozen=True)
class Key:
    """A key of a configuration: its name, default, type, and what it means."""

    name: str
    default: str
    type: str
    meaning: str


def describe_keys(command: str) -> str:
    """Return each key with its default, type and meaning."""
    lines = ["keys, as KEY=DEFAULT (type); --choices lists what each config group offers:"]
    for key in keys_of(command):
        lines.append(f"  {key.name}={key.default}  ({key.type})".replace("=???", "=VALUE"))
        lines.append(textwrap.fill(key.meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines) + "\n"


def keys_of(command: str) -> list[Key]:
    """Return the keys of a command's configuration, in the order of its schema."""
    schema = SCHEMAS[command]
    root = "store" if schema is config.StoreConfig else command
    tree = yaml.safe_load((conf_folder() / f"{root}.yaml").read_text(encoding="utf-8"))
    groups = {
        group: choice for entry in tree.pop("defaults") if isinstance(entry, dict) for group, choice in entry.items()
    }
    return list(_keys(schema, "", {**tree, **groups}, groups))


def _keys(schema: type[Any], prefix: str, defaults: Mapping[str, Any], groups: Collection[str]) -> Iterator[Key]:
    # What several commands share is documented once, where they all train from.
    meanings = {**documented(config.TrainConfig), **documented(schema)}
    for name, field in fields_of(schema).items():
        annotation: Any = field.annotation
        is_nested = dataclasses.is_dataclass(annotation)
        if is_nested:
            yield from _keys(annotation, f"{prefix}{name}.", {}, ())
            continue
        value = "???" if field.is_required() else plain(field.get_default(call_default_factory=True))
        default = yaml.safe_dump(defaults.get(name, value), default_flow_style=True, width=WIDTH)
        default = default.removesuffix("...\n").strip().strip("'")
        meaning = meanings.get(name, "")
        type_name = _type_name(annotation) + _bounds(field.metadata)
        yield Key(f"{prefix}{name}", default, "config group" if name in groups else type_name, meaning)


def documented(schema: type[Any]) -> dict[str, str]:
    """Return the first sentence about each field in the `Attributes:` section of a schema."""
    section = (inspect.getdoc(schema) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: re.split(r"(?<=\.)\s", " ".join(text.split()))[0] for name, text in entries}


def _type_name(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_name(parts[0]) + _bounds(parts[1:])
    if origin is typing.Literal:
        return "|".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if part is types.NoneType else _type_name(part) for part in parts)
    if origin is list:
        return f"list of {_type_name(parts[0])}"
    if origin is dict:
        return "mapping"
    return "path" if annotation is Path else str(annotation.__name__)


def _bounds(metadata: Any) -> str:
    """Return the limits of a number, as ` > 0`."""
    limits = [limit for one in metadata for limit in (getattr(one, "metadata", None) or [one])]
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    told = [f"{sign} {getattr(one, name)}" for one in limits for name, sign in signs.items() if hasattr(one, name)]
    return f" {' and '.join(told)}" if told else ""
