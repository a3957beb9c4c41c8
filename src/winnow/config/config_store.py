"""Nodes for Hydra's ConfigStore: the defaults of `TrainConfig`, and an alias for each renamed choice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_origin

from winnow.config.deprecated import MARK, renamed_choices
from winnow.config.schema import TrainConfig

NAME = "train_defaults"
"""The name under which `conf/train.yaml` includes the defaults."""


def register_nodes() -> None:
    """Add the defaults and the aliases to the ConfigStore. Calling this function again has no effect."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    # The keys in a config group depend on its `_target_`, so Hydra accepts any key there and Winnow validates the keys.
    accepts_any = {"struct": False}
    node = OmegaConf.create({})
    for name, field in fields_of(TrainConfig).items():
        value = "???" if field.is_required() else plain(field.get_default(call_default_factory=True))
        is_group = get_origin(field.annotation) is dict
        node[name] = DictConfig(value, flags=accepts_any) if is_group else value
    store = ConfigStore.instance()
    store.store(name=NAME, node=node, provider="winnow")
    for group, old, new in renamed_choices():
        alias = {"defaults": [new, "_self_"], MARK: f"{group}={old}"}
        store.store(group=group, name=old, node=OmegaConf.create(alias), provider="winnow")


def fields_of(schema: type[Any]) -> dict[str, Any]:
    """Return pydantic's description of each field of a schema."""
    fields: dict[str, Any] = schema.__pydantic_fields__
    return fields


def plain(value: Any) -> Any:
    """Return a default value as plain data for YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value) if isinstance(value, Path) else value
