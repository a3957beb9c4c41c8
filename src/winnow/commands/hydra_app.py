"""Implement the Hydra app `scripts/train.py`, which validates the configuration of all jobs and then trains models."""

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

from winnow.commands.crash_report import build_crash_error
from winnow.commands.error_output import format_error, print_error
from winnow.commands.hydra_settings import check_hydra_settings
from winnow.commands.terminal_encoding import substitute_unencodable_characters
from winnow.config import TrainConfig, ablation, compose_cells, restore_cell
from winnow.config.config_store import register_nodes
from winnow.config.deprecated import rename_deprecated_override
from winnow.config.overrides import is_parsable, is_supported_override, parse_override
from winnow.config.permissions import PERMISSION_KEYS, Permissions, build_permission_error, extract_permissions
from winnow.config.search_path import initialized_hydra, searchpath_override, user_config_folders
from winnow.errors import WinnowError, WinnowErrors
from winnow.metrics.metric_names import find_validation_counterpart

SCRIPT_NAME = "scripts/train.py"

SWEEP_OBJECTIVE = "validation/all/loss"
"""The metric that each job returns as the objective for Hydra sweepers to minimize.

With `evaluation.validation_only=true`, a job returns the primary metric on validation data instead.
"""


class LocalConfSearchPath(SearchPathPlugin):
    """A Hydra plugin that appends `./conf` and the plugin folders to the config search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append each user config folder to Hydra's search path, after the built-in configuration."""
        for folder in user_config_folders():
            search_path.append("local", f"file://{folder}")


class RunError(CompactHydraException):
    """An error that Hydra prints without a traceback."""


def run_hydra_app(app: Callable[[], None], arguments: Sequence[str]) -> int:
    """Run a Hydra app for training and return its exit code.

    All runs are validated before the app starts, because Hydra would stop at the first configuration error. Unexpected
    exceptions are reported in one paragraph, unless the environment variable `HYDRA_FULL_ERROR` is 1.
    """
    # Hydra reads the arguments from sys.argv.
    arguments = sys.argv[1:] = [rename_deprecated_override(text) for text in arguments]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # must be set before torch is loaded
    substitute_unencodable_characters()
    register_nodes()
    Plugins.instance().register(LocalConfSearchPath)
    try:
        check_arguments(arguments)
        app()
    except WinnowError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        print("\nStopped by Ctrl-C. The run is marked KILLED, and finished runs are kept.", file=sys.stderr)
        return 130
    except Exception as error:
        if _shows_tracebacks():
            raise
        print_error(build_crash_error(error, SCRIPT_NAME, None, None))
        return 1
    return 0


def train_once(config: DictConfig) -> float:
    """Train and evaluate a model with a composed config, and return the objective on validation data.

    Raises:
        RunError: If the configuration is invalid, or if the run fails. With `HYDRA_FULL_ERROR=1`, unexpected exceptions
            propagate unchanged.
    """
    from rich.console import Console

    from winnow.run.pipeline import run_single_cell
    from winnow.studies.process_state import preserve_process_state

    logging.getLogger("alembic").setLevel(logging.WARNING)  # Hydra's logging setup would show Alembic's INFO messages
    tree: Any = OmegaConf.to_container(config, resolve=True)
    try:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            _check_devices(tree["trainer"])
        overrides = list(HydraConfig.get().overrides.task)
        cell = restore_cell(tree, overrides, TrainConfig, _read_permissions(overrides))
        with preserve_process_state():
            scores = run_single_cell(cell, Console(highlight=False))
    except WinnowError as error:
        raise RunError(format_error(error)) from error
    except Exception as error:
        if _shows_tracebacks():
            raise
        crash_error = build_crash_error(error, SCRIPT_NAME, Path(tree["output_dir"]), tree["tracking"]["uri"])
        raise RunError(format_error(crash_error)) from error
    study, evaluation = cell.config.study, cell.config.evaluation
    objective = find_validation_counterpart(study.primary_metric) if evaluation.validation_only else SWEEP_OBJECTIVE
    return scores.get(objective, float("nan"))  # in a distributed run, only the process with rank 0 has scores


def _shows_tracebacks() -> bool:
    """Return whether the user requested tracebacks, with the environment variable that Hydra uses for this."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _read_permissions(overrides: Sequence[str]) -> Permissions:
    """Return the user's permissions, and check that a sweep in a config file does not add permissions.

    Raises:
        WinnowErrors: If a config file permits code, or if an override permits a package that is never allowed.
    """
    params = HydraConfig.get().sweeper.get("params") or {}
    errors = [build_permission_error(key) for key in PERMISSION_KEYS for name in params if name.lstrip("+") == key]
    permissions, _ = extract_permissions(overrides, errors)
    if errors:
        raise WinnowErrors(errors)
    return permissions


def _check_devices(trainer: dict[str, Any]) -> None:
    """Raise an error if a job of a multirun is distributed.

    For a distributed job, Lightning starts the same command in each process, so each process would start the full
    multirun.
    """
    is_distributed = trainer.get("devices") not in (None, 1, "1", "auto") or trainer.get("strategy", "auto") != "auto"
    if is_distributed:
        raise WinnowError(
            f"a multirun cannot contain distributed runs, got devices={trainer.get('devices')} and "
            f"strategy={trainer.get('strategy', 'auto')}. Use winnow train -m with launcher=torchrun, or start one "
            "run at a time.",
            "trainer.devices",
        )


def check_arguments(arguments: Sequence[str]) -> None:
    """Compose and validate the configuration of every run, unless the arguments only print information.

    Raises:
        WinnowErrors: If Hydra's own settings name code that is not allowed, or if the configuration of any run is
            invalid. The errors of all runs are reported together.
    """
    options, _ = _build_parser().parse_known_args(arguments)
    config_dirs = _list_config_dirs(options)
    if options.config_path or config_dirs is None:
        return
    with initialized_hydra():
        settings = _compose_hydra_settings(options, config_dirs)
    if settings is None:
        return  # Hydra reports the error in its settings when the app starts
    if errors := check_hydra_settings(settings):  # Hydra runs callbacks even if it only prints the configuration
        raise WinnowErrors(errors)
    if options.only_prints:
        return
    overrides = [
        text for text in options.overrides if not is_parsable(text, []) or is_supported_override(text, "train", [])
    ]
    is_multirun = options.multirun or settings.mode == RunMode.MULTIRUN
    if is_multirun and not settings.sweeper._target_.endswith(".BasicSweeper"):
        # A search sweeper such as Optuna samples values during the sweep, so each run validates its values later.
        overrides = [
            text for text in overrides if not (is_parsable(text, []) and parse_override(text).is_sweep_override())
        ]
        is_multirun = False
    if not is_multirun:
        overrides.append("hydra.mode=RUN")
    cells, _ = compose_cells(options.config_name, TrainConfig, overrides, is_multirun, config_dirs)
    for cell in cells if is_multirun else ():
        _check_devices(cell.config.trainer)
    if any(text.startswith(f"{ablation.ABLATE_KEY}=") for cell in cells for text in cell.overrides):
        raise WinnowError(
            "scripts/train.py does not support ablations, because an ablation adds arms to a study. Use winnow train.",
            ablation.ABLATE_KEY,
        )


def _list_config_dirs(options: argparse.Namespace) -> list[Path] | None:
    """Return the folders that the arguments add to the search path, or `None` if a path is a URL such as `pkg://`."""
    readable_overrides = [text for text in options.overrides if is_parsable(text, [])]
    paths = [
        path
        for text in readable_overrides
        if parse_override(text).key_or_group == "hydra.searchpath"
        for path in parse_override(text).value()
    ]
    if any("://" in path and not path.startswith("file://") for path in paths):
        return None
    return [Path(path.removeprefix("file://")) for path in [*options.config_dir, *paths]]


def _compose_hydra_settings(options: argparse.Namespace, config_dirs: Sequence[Path]) -> Any:
    """Return the `hydra` section of the composed config, or `None` if composition fails."""
    fixed_overrides = [
        text for text in options.overrides if is_parsable(text, []) and not parse_override(text).is_sweep_override()
    ]
    hydra_overrides = [text for text in fixed_overrides if parse_override(text).is_hydra_override()]
    # If composition fails because of an invalid override, retry with only the overrides of `hydra` keys.
    for overrides in (fixed_overrides, hydra_overrides):
        with suppress(Exception):
            all_overrides = [*searchpath_override(config_dirs), *overrides]
            return compose(options.config_name, all_overrides, return_hydra_config=True).hydra
    return None


def _build_parser() -> argparse.ArgumentParser:
    """Return a parser for the Hydra options that determine which configuration is composed."""
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
