"""The config groups: the expected class of each group, and the arguments that Winnow sets itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DECIDED_BY_TRAINING = {
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
"""Arguments of Lightning's Trainer that are not allowed in the configuration, mapped to what sets them instead."""


@dataclass(frozen=True)
class Group:
    """The rules for one config group.

    Attributes:
        expected: The import path of the required base class of the group's `_target_`.
        is_partial: Whether Winnow adds more arguments before it calls the target.
        decided: Arguments that Winnow adds, mapped to what sets their values. The configuration must not contain these
            arguments.
    """

    expected: str
    is_partial: bool = False
    decided: Mapping[str, str] = field(default_factory=dict)


GROUPS = {
    "dataset": Group("winnow.data.Dataset"),
    "filter": Group("winnow.filters.Selection"),
    "model": Group("winnow.training.Model"),
    "masking": Group("winnow.training.Masking"),
    "optimizer": Group("torch.optim.Optimizer", is_partial=True),
    "trainer": Group("pytorch_lightning.Trainer", is_partial=True, decided=DECIDED_BY_TRAINING),
    "tracking": Group("winnow.tracking.Store"),
    "launcher": Group("winnow.studies.Launcher"),
}
"""Groups with a single object, by key."""

NAMED_GROUPS = {
    "probe": Group("winnow.evaluation.Probe"),
    "evaluation.slices": Group("winnow.filters.Filter"),
}
"""Groups with several named objects, by the key of the group."""


def group_of(key: str) -> Group | None:
    """Return the group that the object at a key belongs to, or `None` if it does not belong to a group.

    >>> group_of("probe.nike").expected
    'winnow.evaluation.Probe'
    """
    return GROUPS.get(key) or NAMED_GROUPS.get(key.rpartition(".")[0])
