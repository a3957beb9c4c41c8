"""Select the settings that affect a run's results, so that the configurations of two runs can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from winnow.config.plain_data import flatten_config

COMPARED_GROUPS: Final = ("filter", "model", "masking", "optimizer", "training", "trainer", "evaluation")
"""Config groups whose settings affect the results. For datasets and probes, the rows and the prompts are compared."""

HARDWARE_TRAINER_ARGUMENTS: Final = ("accelerator", "devices", "num_nodes", "strategy", "profiler")
"""Trainer arguments for hardware and profiling, which are ignored when two runs are compared."""

BUDGET_KEYS: Final = ("training.max_passes", "training.total_tokens", "training.max_steps")
"""The budget rules in order of precedence. Only the first rule that is set applies."""


def select_compared_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that affect results, by key.

    A `_target_` class is stored under the key of its config group. If a budget rule other than `training.max_steps` is
    set, the keys of the rules that have no effect are omitted.
    """
    settings = {key.removesuffix("._target_"): value for key, value in flatten_config(tree) if _affects_results(key)}
    effective_rule = next((key for key in BUDGET_KEYS if settings.get(key) is not None), None)
    return {key: value for key, value in settings.items() if key not in BUDGET_KEYS or key == effective_rule}


def _affects_results(key: str) -> bool:
    """Return whether a setting affects training or evaluation."""
    group, _, subkey = key.partition(".")
    if key == "numerics.tf32":
        return True
    return (
        group in COMPARED_GROUPS
        and not (group == "trainer" and subkey.partition(".")[0] in HARDWARE_TRAINER_ARGUMENTS)
        and not key.startswith("evaluation.slices")
    )
