"""Convert between the arms' names, which are used in tags and metric names, and their labels, which are displayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from winnow.tracking.keys import ARM, ARM_LABEL

if TYPE_CHECKING:
    from winnow.comparison.collected_study import CollectedStudy

ARM_FIELDS = ("arms", "baseline", "filter", "control", "controls", "ablations", "tested_filters")
"""The fields of a declaration that contain names of arms, as a value, a list, or the keys and values of a mapping."""


def replace_names_with_labels(declaration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored declaration with every arm's name replaced by its label.

    >>> replace_names_with_labels({"arms": ["full", "mild-x-1"], "arm_labels": {"mild-x-1": "mild[x=1]"}})["arms"]
    ['full', 'mild[x=1]']
    """
    labels: Mapping[str, str] = declaration.get("arm_labels") or {}

    def relabel(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {labels.get(key, key): relabel(item) for key, item in value.items()}
        if isinstance(value, list):
            return [relabel(item) for item in value]
        return labels.get(value, value)

    return {key: relabel(value) if key in ARM_FIELDS else value for key, value in declaration.items()}


def map_labels_to_names(study: CollectedStudy) -> dict[str, str]:
    """Return the name of each arm of a study, by label. A suffix added when studies were joined is kept."""
    return {
        cell.arm: cell.arm.replace(cell.tags[ARM_LABEL], cell.tags[ARM], 1)
        for cell in study.cells
        if ARM_LABEL in cell.tags
    }
