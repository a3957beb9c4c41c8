"""The required base class of each config group, and the constructor arguments that users cannot set."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from winnow.config.trainer_check import check_trainer
from winnow.errors import WinnowError

ArgumentCheck = Callable[[Any, Mapping[str, Any], str], list[WinnowError]]
"""A function that takes a target, its arguments and the key of its node, and returns errors."""

UNSUPPORTED_TRAINER_ARGUMENTS = {
    "max_steps": "training.max_steps",
    "max_epochs": "training.max_steps, since the budget is in steps",
    "accumulate_grad_batches": "training.accumulate_batches",
    "gradient_clip_val": "training.gradient_clip",
    "val_check_interval": "training.validate_every_steps",
    "check_val_every_n_epoch": "training.validate_every_steps",
    "max_time": "training.max_steps, since every arm has the same budget",
    "min_steps": "training.max_steps, since every arm has the same budget",
    "min_epochs": "training.max_steps, since every arm has the same budget",
    "fast_dev_run": "debug=fast_dev_run",
    "log_every_n_steps": "training.validate_every_steps",
    "num_sanity_val_steps": "Winnow, which does not need a sanity check",
    "use_distributed_sampler": "Winnow, which shards the batches itself",
    "enable_model_summary": "Winnow, which prints the model size itself",
    "enable_progress_bar": "Winnow, which shows a progress bar for single runs",
    "default_root_dir": "output_dir",
    "callbacks": "Winnow itself",
    "plugins": "Winnow, which writes checkpoints atomically; use the keys precision and strategy",
    "logger": "the config group tracking",
}
"""Arguments of Lightning's Trainer that users cannot set under `trainer`, mapped to the setting to use instead."""

TRAINER_OBJECTS: Final = {
    "strategy": "pytorch_lightning.strategies.Strategy",
    "profiler": "pytorch_lightning.profilers.Profiler",
    "accelerator": "pytorch_lightning.accelerators.Accelerator",
}
"""Arguments of Lightning's Trainer that may be objects, mapped to the base classes of these objects."""

LIBRARY_BASE_CLASSES: Final = ("torch.optim.Optimizer", "pytorch_lightning.Trainer", *TRAINER_OBJECTS.values())
"""The base classes of all targets that are defined in PyTorch or Lightning."""


@dataclass(frozen=True)
class ConfigGroup:
    """The constraints on the objects of a config group.

    Attributes:
        base_class: The import path of the base class that the `_target_` of an object must inherit from.
        is_partial: Whether Winnow passes additional arguments when it calls the target.
        unsupported_arguments: The arguments that users cannot set because Winnow passes them, mapped to the setting
            to use instead.
        check: A function that checks the values of the arguments without constructing an object.
    """

    base_class: str
    is_partial: bool = False
    unsupported_arguments: Mapping[str, str] = field(default_factory=dict)
    check: ArgumentCheck | None = None


SINGLE_OBJECT_GROUPS = {
    "dataset": ConfigGroup("winnow.data.Dataset"),
    "filter": ConfigGroup("winnow.filters.Selection"),
    "model": ConfigGroup("winnow.training.Model"),
    "masking": ConfigGroup("winnow.training.Masking"),
    "optimizer": ConfigGroup("torch.optim.Optimizer", is_partial=True),
    "trainer": ConfigGroup(
        "pytorch_lightning.Trainer",
        is_partial=True,
        unsupported_arguments=UNSUPPORTED_TRAINER_ARGUMENTS,
        check=check_trainer,
    ),
    "tracking": ConfigGroup("winnow.tracking.Store"),
    "launcher": ConfigGroup("winnow.studies.Launcher"),
}
"""The config groups that configure a single object, keyed by configuration key."""

MULTI_OBJECT_GROUPS = {
    "probe": ConfigGroup("winnow.evaluation.Probe"),
    "evaluation.slices": ConfigGroup("winnow.filters.Filter"),
}
"""The config groups that configure several named objects, keyed by configuration key."""


def find_config_group(key: str) -> ConfigGroup | None:
    """Return the config group of the object at a configuration key, or `None` if the object is not in a group.

    >>> find_config_group("probe.nike").base_class
    'winnow.evaluation.Probe'
    """
    multi_object_groups = (group for name, group in MULTI_OBJECT_GROUPS.items() if key.startswith(f"{name}."))
    return SINGLE_OBJECT_GROUPS.get(key) or next(multi_object_groups, None)


def import_class(path: str) -> type:
    """Import the class at a path such as `winnow.data.Dataset`."""
    module, _, name = path.rpartition(".")
    cls: type = getattr(importlib.import_module(module), name)
    return cls
