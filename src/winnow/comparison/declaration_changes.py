"""Find what was changed in a study's declaration after the first run, so that results can be marked as post hoc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ROLES = ("filter", "baseline", "control")

FIXED_SETTING_LABELS = {
    "block_by_seed": "block_by_seed",
    "equivalence_margin": "equivalence margin",
    "specificity_metric": "specificity metric",
    "guard_metric": "guard metric",
    "cost_margin": "cost margin",
    "looks": "interim looks",
    "select": "rule that selects the level",
}
"""The labels of the settings for which the first declared value is used, by setting."""


def find_post_hoc(merged: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what was declared or changed after the first run.

    Args:
        merged: The merged declaration.
        first: The original declaration.

    Returns:
        The metrics, arms and seeds that are not in the first declaration, including arms whose role was changed; and
        one phrase for each change that affects the verdict. Seeds that were added for a declared interim look are not
        post hoc.
    """
    metrics = {first.get("primary_metric"), *(first.get("secondary_metrics") or ())}
    roles = [role for role in ROLES if merged.get(role) is not None and merged[role] != first.get(role)]
    seeds = _find_added_seeds(merged, first)
    changes = [f"{role} changed from {first.get(role) or 'none'} to {merged[role]}" for role in roles]
    if merged["primary_metric"] != first.get("primary_metric"):
        changes.append(f"primary metric changed from {first.get('primary_metric')} to {merged['primary_metric']}")
    if seeds:
        changes.append(f"{describe_seeds(seeds)} added")
    changes += _find_added_levels(merged, first)
    names = [
        *(name for name in (merged["primary_metric"], *merged["secondary_metrics"]) if name not in metrics),
        *(arm for arm in merged["arms"] if arm not in (first.get("arms") or ())),
        *(str(merged[role]) for role in roles),
        *(f"seed {seed}" for seed in seeds),
    ]
    return tuple(dict.fromkeys(names)), tuple(changes)


def _find_added_seeds(merged: Mapping[str, Any], first: Mapping[str, Any]) -> list[int]:
    """Return the seeds that are not in the first declaration, unless a declared interim look requires them."""
    looks = first.get("looks") or ()
    if looks and len(merged["seeds"]) <= looks[-1]:
        return []
    return [seed for seed in merged["seeds"] if seed not in (first.get("seeds") or ())]


def _find_added_levels(merged: Mapping[str, Any], first: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each factor level that is not in the first declaration."""
    declared = first.get("factors") or {}
    return [
        f"level {key}={level} added"
        for key, levels in (merged.get("factors") or {}).items()
        for level in levels
        if level not in declared.get(key, ())
    ]


def describe_seeds(seeds: Sequence[int]) -> str:
    """Return a phrase that names the seeds; more than four seeds are given as a count and a range.

    >>> describe_seeds([6]), describe_seeds([6, 7]), describe_seeds(range(6, 21))
    ('seed 6', 'seeds 6 and 7', '15 seeds (6 to 20)')
    """
    if len(seeds) > 4:
        return f"{len(seeds)} seeds ({min(seeds)} to {max(seeds)})"
    names = [str(seed) for seed in seeds]
    return f"seed {names[0]}" if len(names) == 1 else f"seeds {', '.join(names[:-1])} and {names[-1]}"


def describe_changes(first: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    """Return notes on what changed between the first and the newest declaration."""
    keys = ["primary_metric", "secondary_metrics", "arms", "max_steps"]
    keys += [role for role in ROLES if last.get(role) is not None]
    keys += [] if first.get("looks") else ["seeds"]
    changes = [
        f"{key.replace('_', ' ')} (first {first.get(key)}, now {last.get(key)})"
        for key in keys
        if first.get(key) != last.get(key)
    ]
    notes = [f"Post hoc: the declaration changed after the first run: {'; '.join(changes)}."] if changes else []
    for key, label in FIXED_SETTING_LABELS.items():
        before, after = first.get(key), last.get(key)
        if key == "block_by_seed":
            before, after = bool(before), bool(after)
        if before == after or after in (None, []):
            continue
        consequence = "It is not used" if before in (None, []) else f"The first value, {before}, is used"
        notes.append(f"Post hoc: the {label} {after} was set after the first run. {consequence}.")
    return notes
