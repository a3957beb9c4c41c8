"""Compose the configuration of a command from its options."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from winnow.commands.terminal_encoding import is_unicode_terminal

if TYPE_CHECKING:
    from winnow.config import ComposedCell

Config = TypeVar("Config")


def compose_config(options: argparse.Namespace, schema: type[Config]) -> Config | None:
    """Return the configuration of a command without sweeps, or `None` if `--cfg` or `--info` was given."""
    cell = compose_cell(options, schema)
    return cell.config if cell is not None else None


def compose_cell(options: argparse.Namespace, schema: type[Config]) -> ComposedCell[Config] | None:
    """Return the only cell of a command without sweeps, or `None` if `--cfg` or `--info` was given."""
    from winnow.config import compose_cells

    cells, _ = compose_cells(options.command, schema, options.overrides, config_dirs=options.config_dir)
    set_destinations(options, cells[0].config)
    return None if print_config(options, [cells[0].config_dict]) else cells[0]


def set_destinations(options: argparse.Namespace, config: Any) -> None:
    """Set the output folder and the address of the store, which are used to report exceptions."""
    options.output_dir, options.store_uri = config.output_dir, config.tracking.get("uri")


def compose_with_models(options: argparse.Namespace, schema: type[Config]) -> Config | None:
    """Return the configuration of a command that takes models. Arguments without `=` are added to its `models`."""
    models = [text for text in options.overrides if not is_override(text)]
    options.overrides = [text for text in options.overrides if is_override(text)]
    config: Any = compose_config(options, schema)
    return dataclasses.replace(config, models=[*config.models, *models]) if config is not None else None


def compose_with_name(options: argparse.Namespace, schema: type[Config], key: str) -> Config | None:
    """Return the configuration of a command that takes a name. An argument without `=` sets the value of `key`."""
    options.overrides = [
        text if is_override(text) else f"{key}='{text}'"
        for text in options.overrides  # the quotes keep an id that consists of digits a string
    ]
    return compose_config(options, schema)


def is_override(text: str) -> bool:
    """Return whether an argument is `KEY=VALUE` rather than a name. The label of an arm may contain `=`.

    >>> is_override("seed=1"), is_override("mine/cheerful[mood.at_least=0.4]/1")
    (True, False)
    """
    return "=" in text and re.fullmatch(r"[^=/]+/[^=/]+\[.+\]/\d+", text) is None


def print_config(options: argparse.Namespace, trees: Sequence[object]) -> bool:
    """Print the output of `--cfg` and `--info`, and return whether either option was given."""
    if options.info:
        from winnow.config.composition_info import format_composition_info

        print(format_composition_info(options.command, options.overrides, options.config_dir, options.info))
    if options.cfg:
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the compiled dumper is eight times faster
        texts = [yaml.dump(tree, Dumper=dumper, sort_keys=False, allow_unicode=is_unicode_terminal()) for tree in trees]
        print("---\n".join(texts), end="")
    return bool(options.cfg or options.info)
