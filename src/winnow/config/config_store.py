"""Register the defaults of `TrainConfig` and the deprecated option names in Hydra's ConfigStore."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_origin

from winnow.config.deprecated import DEPRECATED_OPTION_KEY, renamed_options
from winnow.config.schema import TrainConfig

TRAIN_DEFAULTS_NAME = "train_defaults"
"""The config name of the `TrainConfig` defaults in the defaults list of `conf/train.yaml`."""


def register_nodes() -> None:
    """Add the defaults and the deprecated option names to the ConfigStore. Repeated calls have no further effect."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    # The valid keys of a config group depend on its `_target_`. Hydra therefore accepts any key in a group, and Winnow
    # validates the keys after composition.
    accepts_any = {"struct": False}
    node = OmegaConf.create({})
    for name, field in pydantic_fields(TrainConfig).items():
        value = "???" if field.is_required() else default_to_plain_data(field.get_default(call_default_factory=True))
        is_group = get_origin(field.annotation) is dict
        node[name] = DictConfig(value, flags=accepts_any) if is_group else value
    store = ConfigStore.instance()
    store.store(name=TRAIN_DEFAULTS_NAME, node=node, provider="winnow")
    for group, old, new in renamed_options():
        alias = {"defaults": [new, "_self_"], DEPRECATED_OPTION_KEY: f"{group}={old}"}
        store.store(group=group, name=old, node=OmegaConf.create(alias), provider="winnow")


def pydantic_fields(schema: type[Any]) -> dict[str, Any]:
    """Return the pydantic `FieldInfo` of each field of a schema, keyed by field name."""
    fields: dict[str, Any] = schema.__pydantic_fields__
    return fields


def default_to_plain_data(value: Any) -> Any:
    """Convert a default value to plain data for YAML: dataclasses become dicts, and paths become strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value) if isinstance(value, Path) else value
