"""The commands. Nothing heavy is imported before a command is known, so that `winnow --help` is instant."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from winnow.commands.arguments import parser as arguments_of_commands
from winnow.commands.arguments import with_values
from winnow.commands.error_output import print_error
from winnow.errors import WinnowError

if TYPE_CHECKING:
    from winnow.config import Cell
    from winnow.tracking import Store

Config = TypeVar("Config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    The code is 0 on success, 1 where something the user gave cannot work or a cell failed, 130 on Ctrl-C.
    """
    # Threads that wait for one another sleep instead of spinning: beside another program on the same cores a small
    # model trains several times faster so. It must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = arguments_of_commands()
    options, rest = parser.parse_known_args(with_values(sys.argv[1:] if arguments is None else arguments))
    if strange := [text for text in rest if text.startswith("-")]:
        parser.error(f"unknown option {strange[0]}")
    if options.resolve and not options.cfg:
        parser.error("--resolve goes with --cfg")
    options.overrides += rest
    options.config_dir = [Path(folder) for folder in options.config_dir]
    if options.choices:
        return _print_choices(options)
    try:
        return COMMANDS[options.command](options)
    except WinnowError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        kept = " The run is marked KILLED, and what had finished is kept." if options.command == "train" else ""
        print(f"\nStopped by Ctrl-C.{kept}", file=sys.stderr)
        return 130


def _train(options: argparse.Namespace) -> int:
    from winnow.config import TrainConfig, compose_cells

    cells, sweep = compose_cells("train", TrainConfig, options.overrides, options.multirun, options.config_dir)
    if _printed(options, [cell.tree for cell in cells]):
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    if sweep:
        from winnow.studies import run_study

        return 1 if run_study(cells, console) else 0
    from winnow.run.pipeline import run_single

    run_single(cells[0], console)
    return 0


def _filter(options: argparse.Namespace) -> int:
    from winnow.config import FilterConfig

    if (cell := _composed_cell(options, FilterConfig)) is None:
        return 0
    from rich.console import Console

    from winnow.commands.filter import run_filter

    run_filter(cell, Console(highlight=False))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from winnow.config import EvaluateConfig

    if (config := _with_models(options, EvaluateConfig)) is not None:
        from rich.console import Console

        from winnow.commands.evaluate import run_evaluate

        run_evaluate(config, Console(highlight=False))
    return 0


def _fill(options: argparse.Namespace) -> int:
    from winnow.config import FillConfig

    if (config := _with_models(options, FillConfig)) is not None:
        from rich.console import Console

        from winnow.commands.fill import run_fill

        run_fill(options.text, config, Console(highlight=False), options.json)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from winnow.config import CompareConfig

    if (config := _composed(options, CompareConfig)) is not None:
        from winnow.commands.compare import run_compare

        run_compare(config)
    return 0


def _rerun(options: argparse.Namespace) -> int:
    from winnow.config import RerunConfig

    if (config := _named(options, RerunConfig, "run_id")) is None:
        return 0
    from rich.console import Console

    from winnow.commands.rerun import run_rerun

    return 1 if run_rerun(config, Console(highlight=False)).unequal else 0


def _export(options: argparse.Namespace) -> int:
    from winnow.config import ExportConfig

    if (config := _named(options, ExportConfig, "study")) is not None:
        from rich.console import Console

        from winnow.commands.export import run_export

        run_export(config, Console(highlight=False))
    return 0


def _ui(options: argparse.Namespace) -> int:
    from winnow.config import UiConfig

    if (config := _composed(options, UiConfig)) is None:
        return 0
    from winnow.commands.ui import run_ui

    return run_ui(config)


def _sync(options: argparse.Namespace) -> int:
    def send(store: Store) -> str:
        from winnow.tracking import sync

        return "\n".join(sync(store)) or f"Nothing waits to be sent to {store.shown_uri}."

    return _with_store(options, send)


def _promote(options: argparse.Namespace) -> int:
    def register(store: Store) -> str:
        from winnow.tracking.registry import promote

        return f"Registered as {promote(store, options.run, options.alias, options.name)}"

    return _with_store(options, register)


def _push(options: argparse.Namespace) -> int:
    def send(store: Store) -> str:
        from winnow.tracking.registry import push

        return f"Sent: {push(store, options.run, options.name, private=not options.public)}"

    return _with_store(options, send)


def _with_store(options: argparse.Namespace, act: Callable[[Store], str]) -> int:
    """Do something with the store that the configuration names, and print what it says."""
    from winnow.config import StoreConfig, construct
    from winnow.tracking import Store

    options.command = "store"
    if (config := _composed(options, StoreConfig)) is not None:
        try:
            print(act(construct(config.tracking, "tracking", Store, config.allow_targets)))
        except WinnowError as error:
            raise error.under("tracking") if error.key == "uri" else error from error
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "filter": _filter,
    "evaluate": _evaluate,
    "fill": _fill,
    "compare": _compare,
    "rerun": _rerun,
    "export": _export,
    "ui": _ui,
    "sync": _sync,
    "promote": _promote,
    "push": _push,
}


def _composed(options: argparse.Namespace, schema: type[Config]) -> Config | None:
    """Return the configuration of a command without sweeps, or `None` where printing it was all the user wanted."""
    cell = _composed_cell(options, schema)
    return cell.config if cell is not None else None


def _composed_cell(options: argparse.Namespace, schema: type[Config]) -> Cell[Config] | None:
    from winnow.config import compose_cells

    cells, _ = compose_cells(options.command, schema, options.overrides, config_dirs=options.config_dir)
    return None if _printed(options, [cells[0].tree]) else cells[0]


def _with_models(options: argparse.Namespace, schema: type[Config]) -> Config | None:
    """Return the configuration of a command whose arguments name models: what has no `=` is one of them."""
    models = [text for text in options.overrides if "=" not in text]
    options.overrides = [text for text in options.overrides if "=" in text]
    config: Any = _composed(options, schema)
    return dataclasses.replace(config, models=[*config.models, *models]) if config is not None else None


def _named(options: argparse.Namespace, schema: type[Config], key: str) -> Config | None:
    """Return the configuration of a command whose first argument may be a name without its key."""
    options.overrides = [
        text if "=" in text else f"{key}='{text}'"
        for text in options.overrides  # quoted, as an id may read as a number
    ]
    return _composed(options, schema)


def _printed(options: argparse.Namespace, trees: Sequence[object]) -> bool:
    """Print the composed configuration where that is all the user wanted, and tell whether it was."""
    if options.info:
        from winnow.config.composition_info import composition_info

        print(composition_info(options.command, options.overrides, options.config_dir, options.info))
    if options.cfg:
        import yaml

        print("---\n".join(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True) for tree in trees), end="")
    return bool(options.cfg or options.info)


def _print_choices(options: argparse.Namespace) -> int:
    from winnow.config import describe_choices

    for group, names in describe_choices(options.config_dir).items():
        print(f"{group + '=':<18} {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
