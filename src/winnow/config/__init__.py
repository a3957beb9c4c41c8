"""Compose and validate the configuration, and construct an object for each `_target_`."""

from winnow.config.command_schemas import (
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    FillConfig,
    FilterConfig,
    PlanConfig,
    RerunConfig,
    RunsConfig,
    SearchConfig,
    SearchRange,
    StoreConfig,
    UiConfig,
)
from winnow.config.compared_settings import HARDWARE_TRAINER_ARGUMENTS, select_compared_settings
from winnow.config.compose import ComposedCell, compose_cells, restore_cell
from winnow.config.construct import construct
from winnow.config.deprecated import load_stored_config
from winnow.config.permissions import read_user_permissions
from winnow.config.plain_data import flatten_config
from winnow.config.schema import TrainConfig
from winnow.config.search_path import builtin_config_folder, list_group_options
from winnow.config.target_defaults import find_defaulted_keys

__all__ = [
    "HARDWARE_TRAINER_ARGUMENTS",
    "CompareConfig",
    "ComposedCell",
    "EvaluateConfig",
    "ExportConfig",
    "FillConfig",
    "FilterConfig",
    "PlanConfig",
    "RerunConfig",
    "RunsConfig",
    "SearchConfig",
    "SearchRange",
    "StoreConfig",
    "TrainConfig",
    "UiConfig",
    "builtin_config_folder",
    "compose_cells",
    "construct",
    "find_defaulted_keys",
    "flatten_config",
    "list_group_options",
    "load_stored_config",
    "read_user_permissions",
    "restore_cell",
    "select_compared_settings",
]
