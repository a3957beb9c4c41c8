"""From `conf/` and overrides to a checked configuration, and from `_target_` to an object."""

from winnow.config.compose import Cell, compose_cells, conf_folder, describe_choices
from winnow.config.construct import construct
from winnow.config.schema import (
    CompareConfig,
    EvaluateConfig,
    FillConfig,
    FilterConfig,
    SyncConfig,
    TrainConfig,
    UiConfig,
)

__all__ = [
    "Cell",
    "CompareConfig",
    "EvaluateConfig",
    "FillConfig",
    "FilterConfig",
    "SyncConfig",
    "TrainConfig",
    "UiConfig",
    "compose_cells",
    "conf_folder",
    "construct",
    "describe_choices",
]
