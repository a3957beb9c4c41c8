"""The `winnow` command line. Each command imports the heavy packages that it needs, so that `--help` is fast."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.commands.argument_parsers import add_default_values, build_parser
from winnow.commands.command_configs import (
    compose_cell,
    compose_config,
    compose_with_models,
    compose_with_name,
    is_override,
    print_config,
    set_destinations,
)
from winnow.commands.error_output import print_error
from winnow.commands.score_files import compare_score_files, is_score_file
from winnow.commands.terminal_encoding import substitute_unencodable_characters
from winnow.errors import WinnowError
from winnow.garbage_collection import collect_garbage_rarely

if TYPE_CHECKING:
    from winnow.tracking import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    The exit code is 0 on success, 130 after Ctrl-C, and 1 in all other cases: after an error, if a cell of a study
    failed, or if the metrics of a rerun differ from those of the original run.
    """
    # Idle OpenMP threads should sleep rather than spin: if another program uses the same cores, a small model then
    # trains several times faster. The variable has no effect after torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    collect_garbage_rarely()
    substitute_unencodable_characters()
    if "_ARGCOMPLETE" in os.environ:  # the shell requests completions
        from winnow.commands.completion import complete

        complete(build_parser())
    options = _parse_arguments(sys.argv[1:] if arguments is None else arguments)
    command = options.command
    try:
        return _print_choices(options) if options.choices else COMMANDS[command](options)
    except WinnowError as error:
        print_error(error)
    except KeyboardInterrupt:
        note = " The run is marked KILLED, and finished runs are kept." if command in ("train", "search") else ""
        print(f"\nStopped by Ctrl-C.{note}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the program that reads the output has exited, as in `winnow train --choices | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that flushing at exit does not fail
    except Exception as error:
        from winnow.commands.crash_report import build_crash_error

        print_error(build_crash_error(error, f"winnow {command}", options.output_dir, options.store_uri))
    return 1


def _parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line. `output_dir` and `store_uri` are `None` until the configuration has been composed."""
    parser = build_parser()
    options, extra = parser.parse_known_args(add_default_values(arguments))
    if unknown_options := [text for text in extra if text.startswith("-")]:
        parser.error(f"unknown option {unknown_options[0]}. List the options with winnow {options.command} --help.")
    if options.resolve and not options.cfg:
        parser.error("--resolve requires --cfg. Add --cfg, or remove --resolve.")
    if options.command == "fill" and options.logits and not options.json:
        parser.error("--logits requires --json. Add --json, or remove --logits.")
    options.overrides += extra
    options.config_dir = [Path(folder) for folder in options.config_dir]
    options.output_dir = options.store_uri = None
    return options


def _train(options: argparse.Namespace) -> int:
    from winnow.config import TrainConfig, compose_cells

    cells, sweep = compose_cells(
        "train",
        TrainConfig,
        options.overrides,
        options.multirun,
        options.config_dir,
        prints_only=bool(options.cfg or options.info),
    )
    set_destinations(options, cells[0].config)
    if print_config(options, [cell.config_dict for cell in cells]):
        return 0
    from rich.console import Console

    console = Console(highlight=False)
    if sweep:
        from winnow.studies import run_study

        return 1 if run_study(cells, console) else 0
    from winnow.run.pipeline import run_single_cell

    run_single_cell(cells[0], console)
    return 0


def _filter(options: argparse.Namespace) -> int:
    from winnow.config import FilterConfig

    if (cell := compose_cell(options, FilterConfig)) is None:
        return 0
    from rich.console import Console

    from winnow.commands.filter import run_filter

    run_filter(cell, Console(highlight=False))
    return 0


def _init(options: argparse.Namespace) -> int:
    if options.overrides:
        raise WinnowError(f"unexpected argument {options.overrides[0]!r}. List the options with winnow init --help.")
    from rich.console import Console

    from winnow.commands.init import run_init

    run_init(options, Console(highlight=False))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from winnow.config import EvaluateConfig

    if (config := compose_with_models(options, EvaluateConfig)) is not None:
        from rich.console import Console

        from winnow.commands.evaluate import run_evaluate

        run_evaluate(config, Console(highlight=False))
    return 0


def _fill(options: argparse.Namespace) -> int:
    from winnow.config import FillConfig

    if options.tokens:
        options.overrides.append(f"tokens={options.tokens}")
    if (config := compose_with_models(options, FillConfig)) is not None:
        from rich.console import Console

        from winnow.commands.fill import run_fill

        run_fill(options.text, config, Console(highlight=False), options.json, options.logits)
    return 0


def _compare(options: argparse.Namespace) -> int:
    if any(map(is_score_file, options.overrides)):
        return compare_score_files(options)
    for name in ("baseline", "json", "metric", "filter", "runs", "cluster"):
        if getattr(options, name):
            raise WinnowError(f"--{name} applies only to files of scores. Remove it.", "compare")
    from winnow.config import CompareConfig

    if not any("study" in text or "=" not in text for text in options.overrides):
        raise WinnowError(
            "the study is missing. Add its name, as in winnow compare demo. `winnow runs` lists the studies.", "study"
        )
    if (config := compose_with_name(options, CompareConfig, "study")) is not None:
        from winnow.commands.compare import run_compare

        run_compare(config)
    return 0


def _plan(options: argparse.Namespace) -> int:
    from winnow.config import PlanConfig

    if (config := compose_config(options, PlanConfig)) is not None:
        from rich.console import Console

        from winnow.commands.plan import run_plan_command

        run_plan_command(config, Console(highlight=False))
    return 0


def _search(options: argparse.Namespace) -> int:
    from winnow.config import SearchConfig, TrainConfig, compose_cells
    from winnow.search.search_command import build_search, run_search_command, split_overrides

    options.overrides, train_overrides = split_overrides(options.overrides)
    cells, _ = compose_cells("search", SearchConfig, options.overrides, config_dirs=options.config_dir)
    if options.cfg or options.info:
        base, _ = compose_cells("train", TrainConfig, train_overrides, config_dirs=options.config_dir, prints_only=True)
        return int(not print_config(options, [cells[0].config_dict, base[0].config_dict]))
    from rich.console import Console

    console = Console(highlight=False)
    search = build_search(cells[0].config, train_overrides, options.config_dir, console)
    set_destinations(options, search.base.config)
    return 1 if run_search_command(search, cells[0].config.confirm, console) else 0


def _rerun(options: argparse.Namespace) -> int:
    from winnow.config import RerunConfig

    if (config := compose_with_name(options, RerunConfig, "run_id")) is None:
        return 0
    from rich.console import Console

    from winnow.commands.rerun import run_rerun

    return 1 if run_rerun(config, Console(highlight=False), options.all).different_metrics else 0


def _runs(options: argparse.Namespace) -> int:
    from winnow.config import RunsConfig

    if (config := compose_with_name(options, RunsConfig, "study")) is not None:
        from rich.console import Console

        from winnow.commands.runs import run_runs

        run_runs(config, Console(highlight=False))
    return 0


def _export(options: argparse.Namespace) -> int:
    from winnow.config import ExportConfig

    if (config := compose_with_name(options, ExportConfig, "study")) is not None:
        from rich.console import Console

        from winnow.commands.export import run_export

        run_export(config, Console(highlight=False))
    return 0


def _ui(options: argparse.Namespace) -> int:
    from winnow.config import UiConfig

    if (config := compose_config(options, UiConfig)) is None:
        return 0
    from winnow.commands.ui import run_ui

    return run_ui(config)


def _doctor(options: argparse.Namespace) -> int:
    from winnow.config import StoreConfig

    options.command = "store"
    if (config := compose_config(options, StoreConfig)) is None:
        return 0
    from rich.console import Console

    from winnow.commands.doctor import run_doctor

    return run_doctor(config, Console(highlight=False))


def _completion(options: argparse.Namespace) -> int:
    from winnow.commands.completion import format_completion_script

    if options.overrides:
        raise WinnowError(f"unexpected argument {options.overrides[0]!r}. Give only the shell.", "completion")
    print(format_completion_script(options.shell))
    return 0


def _sync(options: argparse.Namespace) -> int:
    def upload(store: Store) -> str:
        from winnow.tracking import sync

        return "\n".join(sync(store)) or f"Nothing to upload to {store.redacted_uri}."

    return _run_with_store(options, upload)


def _promote(options: argparse.Namespace) -> int:
    def register(store: Store) -> str:
        from winnow.tracking.model_registry import register_model

        return f"Registered as {register_model(store, options.run, options.alias, options.name)}"

    return _run_with_store(options, register)


def _push(options: argparse.Namespace) -> int:
    *runs, name = [text for text in options.overrides if not is_override(text)] or [""]
    options.overrides = [text for text in options.overrides if is_override(text)]
    if not runs:
        raise WinnowError(
            "expected one or several runs and a repository, as in winnow push demo/full/1 alice/my-model. Add what is "
            "missing.",
            "name",
        )

    def upload(store: Store) -> str:
        from winnow.tracking.hub_upload import push_to_hub

        urls = push_to_hub(store, runs, name, private=not options.public)
        return "\n".join(f"Uploaded: {url}" for url in urls)

    return _run_with_store(options, upload)


def _run_with_store(options: argparse.Namespace, action: Callable[[Store], str]) -> int:
    """Call `action` with the configured store and print the string that it returns. Return the exit code 0."""
    from winnow.config import StoreConfig, construct
    from winnow.tracking import Store
    from winnow.tracking.store_errors import translate_store_errors

    options.command = "store"
    if (config := compose_config(options, StoreConfig)) is not None:
        store = construct(config.tracking, "tracking", Store, config.allow_targets)
        with translate_store_errors(store.uri):
            print(action(store))
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": _train,
    "filter": _filter,
    "init": _init,
    "evaluate": _evaluate,
    "fill": _fill,
    "compare": _compare,
    "plan": _plan,
    "search": _search,
    "rerun": _rerun,
    "runs": _runs,
    "export": _export,
    "ui": _ui,
    "doctor": _doctor,
    "completion": _completion,
    "sync": _sync,
    "promote": _promote,
    "push": _push,
}


def _print_choices(options: argparse.Namespace) -> int:
    from winnow.config import list_group_options

    for group, names in list_group_options(options.config_dir).items():
        print(f"{group + '=':<18} {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
