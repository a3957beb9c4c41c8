"""From `conf/` and overrides to a checked configuration, and from `_target_` to an object."""

from winnow.config.compose import Cell, compose_cells, read_cell
from winnow.config.construct import construct
from winnow.config.overrides import conf_folder, describe_choices
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

__all__ = [
    "Cell",
    "CompareConfig",
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
    "describe_choices",
    "read_cell",
]
