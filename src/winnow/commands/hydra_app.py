"""What `scripts/train.py` adds to a plain Hydra app: the search path, all configuration errors together, one run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import CompactHydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from winnow.commands.error_output import format_error, print_error
from winnow.config import TrainConfig, ablation, compose_cells, read_cell
from winnow.config.config_store import register_defaults
from winnow.config.overrides import is_readable, is_used, parse
from winnow.config.search_path import initialized_hydra, searchpath_override, user_folders
from winnow.errors import WinnowError

OBJECTIVE = "validation/all/loss"
"""The score that a job returns, for sweepers to minimize."""


class LocalConf(SearchPathPlugin):
    """Adds a local `./conf` to the search path, after Winnow's own configuration."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder."""
        for folder in user_folders():
            search_path.append("local", f"file://{folder}")


class RunError(CompactHydraException):
    """An error that Hydra prints without a traceback."""


def run_app(app: Callable[[], None], arguments: Sequence[str]) -> int:
    """Run a Hydra app for training and return its exit code.

    Hydra stops at the first configuration error, so all of them are looked for before it starts.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # must be set before torch is loaded
    register_defaults()
    Plugins.instance().register(LocalConf)
    try:
        check_arguments(arguments)
        app()
    except WinnowError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        print("\nStopped by Ctrl-C. The run is marked KILLED, and finished runs are kept.", file=sys.stderr)
        return 130
    return 0


def train_once(config: DictConfig) -> float:
    """Train and evaluate the run that Hydra composed, and return its validation loss.

    Raises:
        RunError: The configuration is invalid, or the run failed for a reason that the user can fix.
    """
    from rich.console import Console

    from winnow.run.pipeline import run_single
    from winnow.studies.isolation import unchanged_process

    logging.getLogger("alembic").setLevel(logging.WARNING)  # which Hydra would print and write to the log file
    tree: Any = OmegaConf.to_container(config, resolve=True)
    try:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            _check_devices(tree["trainer"])
        cell = read_cell(tree, list(HydraConfig.get().overrides.task), TrainConfig)
        with unchanged_process():
            scores = run_single(cell, Console(highlight=False))
    except WinnowError as error:
        raise RunError(format_error(error)) from error
    return scores.get(OBJECTIVE, float("nan"))  # only the first process of a distributed run has scores


def _check_devices(trainer: dict[str, Any]) -> None:
    """Raise for a distributed run in a multirun, since Lightning starts the whole command again for each process."""
    several = trainer.get("devices") not in (None, 1, "1", "auto") or trainer.get("strategy", "auto") != "auto"
    if several:
        told = "each process of a distributed run would start the whole multirun again. Use winnow train -m with"
        raise WinnowError(f"{told} launcher=torchrun, or start one run at a time.", "trainer.devices")


def check_arguments(arguments: Sequence[str]) -> None:
    """Compose and validate every run that the arguments ask for, unless they only print something.

    Raises:
        WinnowErrors: All configuration errors of all runs.
    """
    options, _ = _parser().parse_known_args(arguments)
    config_dirs = _config_dirs(options)
    if options.only_prints or options.config_path or config_dirs is None:
        return
    with initialized_hydra():
        settings = _hydra_settings(options, config_dirs)
    if settings is None:
        return  # Hydra reports what is wrong with its own settings
    own = [text for text in options.overrides if not is_readable(text, []) or is_used(text, "train", [])]
    is_multirun = options.multirun or settings.mode == RunMode.MULTIRUN
    if is_multirun and not settings.sweeper._target_.endswith(".BasicSweeper"):
        # A search draws its values later, and each of its runs checks them.
        own = [text for text in own if not (is_readable(text, []) and parse(text).is_sweep_override())]
        is_multirun = False
    if not is_multirun:
        own.append("hydra.mode=RUN")
    cells, _ = compose_cells(options.config_name, TrainConfig, own, is_multirun, config_dirs)
    for cell in cells if is_multirun else ():
        _check_devices(cell.config.trainer)
    if any(text.startswith(f"{ablation.KEY}=") for cell in cells for text in cell.overrides):
        raise WinnowError("ablations are runs of their own. Use winnow train, which adds them.", ablation.KEY)


def _config_dirs(options: argparse.Namespace) -> list[Path] | None:
    """Return the folders that the arguments add to the search path, or `None` if they add something else."""
    texts = [text for text in options.overrides if is_readable(text, [])]
    paths = [path for text in texts if parse(text).key_or_group == "hydra.searchpath" for path in parse(text).value()]
    if any("://" in path and not path.startswith("file://") for path in paths):
        return None
    return [Path(path.removeprefix("file://")) for path in [*options.config_dir, *paths]]


def _hydra_settings(options: argparse.Namespace, config_dirs: Sequence[Path]) -> Any:
    """Return Hydra's own configuration, or `None` if that cannot be composed."""
    fixed = [text for text in options.overrides if is_readable(text, []) and not parse(text).is_sweep_override()]
    only_hydra = [text for text in fixed if parse(text).is_hydra_override()]
    for overrides in (fixed, only_hydra):  # the second if other overrides have errors
        with suppress(Exception):
            given = [*searchpath_override(config_dirs), *overrides]
            return compose(options.config_name, given, return_hydra_config=True).hydra
    return None


def _parser() -> argparse.ArgumentParser:
    """Return a parser of the options of Hydra's command line that decide what is composed."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--config-name", "-cn", default="train")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    for names in (("--cfg", "-c"), ("--info", "-i"), ("--package", "-p"), ("--experimental-rerun",)):
        parser.add_argument(*names, nargs="?", dest="only_prints", const="all")
    for names in (("--help", "-h"), ("--hydra-help",), ("--version",), ("--shell-completion", "-sc"), ("--resolve",)):
        parser.add_argument(*names, dest="only_prints", action="store_const", const="all")
    return parser
