"""Compose and validate the configuration, and construct an object for each `_target_`."""

from winnow.config.compose import ComposedCell, compose_cells, read_cell
from winnow.config.construct import construct
from winnow.config.deprecated import load_stored_tree
from winnow.config.plain import flat
from winnow.config.resolve import defaults_of_now
from winnow.config.schema import (
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    FillConfig,
    FilterConfig,
    RerunConfig,
    StoreConfig,
    TrainConfig,
    UiConfig,
)
from winnow.config.search_path import conf_folder, describe_choices

__all__ = [
    "CompareConfig",
    "ComposedCell",
    "EvaluateConfig",
    "ExportConfig",
    "FillConfig",
    "FilterConfig",
    "RerunConfig",
    "StoreConfig",
    "TrainConfig",
    "UiConfig",
    "compose_cells",
    "conf_folder",
    "construct",
    "defaults_of_now",
    "describe_choices",
    "flat",
    "load_stored_tree",
    "read_cell",
]
