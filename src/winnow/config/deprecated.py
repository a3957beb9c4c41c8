"""Renamed configuration keys, choices and target classes, each with its new name."""

from __future__ import annotations

RENAMED_KEYS: dict[str, str] = {
    "tracking.unsent": "tracking.spool",
    "filter=without": "filter=leave_one_out",
    "masking=chosen_words": "masking=listed_words",
    "masking=falling": "masking=decreasing",
}
"""Keys and `group=choice` pairs."""

RENAMED_TARGETS: dict[str, str] = {
    "winnow.filters.Field": "winnow.filters.Column",
    "winnow.filters.Python": "winnow.filters.PythonFunction",
    "winnow.filters.Without": "winnow.filters.LeaveOneOut",
    "winnow.training.ChosenWordMasking": "winnow.training.ListedWordMasking",
}
"""Classes that a `_target_` names."""
