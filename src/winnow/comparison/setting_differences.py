"""Find settings in which the arms of a contrast differ, apart from the filter and the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import shorten
from typing import Any, Final

from winnow.comparison.collected_study import CollectedStudy
from winnow.config import flatten_config, select_compared_settings
from winnow.tracking.keys import CORPUS, PROBES, RESOLVED_CONFIG, WINNOW_VERSION

NOT_SET: Final = "not set"
STUDY_FACTOR: Final = "study"
"""The factor whose levels are joined studies."""

MAX_LISTED_KEYS: Final = 8

IGNORED_KEYS: Final = ("evaluation.batch_size",)
"""Keys that change the results only by floating-point rounding errors."""

Settings = Mapping[str, Any]
ValuesByArm = dict[str, set[str]]


def find_setting_differences(study: CollectedStudy, arms: Sequence[str], compare_probes: bool) -> str | None:
    """Return the settings in which the runs of the arms differ, as one phrase, or ``None`` if there are none.

    Differences in the filter and the seed are ignored. The number of steps may differ if all arms have the same
    budget in tokens or passes. Settings that do not affect the results, such as folders and hardware, are not compared.

    Args:
        study: The study.
        arms: The arms to compare.
        compare_probes: Whether the prompts of the probes must also be the same.
    """
    if missing_arms := [arm for arm in arms if not study.settings.get(arm)]:
        return f"the settings of {' and '.join(missing_arms)} ({RESOLVED_CONFIG}) were not recorded or cannot be read"
    differences = _compare_settings({arm: [_select_settings(tree) for tree in study.settings[arm]] for arm in arms})
    if versions := _compare_tag(study, arms, WINNOW_VERSION, "0.1"):
        differences["Winnow version"] = versions
    for group, tag in (("dataset", CORPUS), ("probe", PROBES)):
        is_compared = compare_probes or group != "probe"
        if is_compared and (fingerprints := _compare_tag(study, arms, tag, "not recorded")):
            differences |= _compare_group(study, arms, group) or {f"{group} (content)": fingerprints}
    return _describe_differences(differences) if differences else None


def find_level_differences(study: CollectedStudy, arms: Sequence[str]) -> str | None:
    """Return the settings other than the factors in which the levels differ, or ``None`` if there are none.

    Levels are averaged and compared with each other, so nothing but the factors may differ between levels. Joined
    studies are exempt: they are different levels because their settings differ.
    """
    factors = study.declaration.factors
    if not study.levels or STUDY_FACTOR in factors:
        return None
    settings = {
        level: [
            {key: value for key, value in _select_settings(tree).items() if not _is_factor_setting(key, factors)}
            for arm in arms
            for tree in level_study.settings.get(arm, [])
        ]
        for level, level_study in study.levels.items()
    }
    differences = _compare_settings(settings)
    if not differences:
        return None
    texts = [f"{key} ({_list_values(by_level)})" for key, by_level in differences.items()]
    return f"the levels may differ only in {', '.join(factors)}, but they also differ in {', '.join(texts)}"


def _is_factor_setting(key: str, factors: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{factor}.") for factor in factors)


def _select_settings(tree: Mapping[str, Any]) -> Settings:
    settings = select_compared_settings(tree)
    return {
        key: value for key, value in settings.items() if key.partition(".")[0] != "filter" and key not in IGNORED_KEYS
    }


def _compare_settings(settings: Mapping[str, Sequence[Settings]]) -> dict[str, ValuesByArm]:
    """Return the values of each arm for every setting with more than one value, by key."""
    keys = sorted({key for trees in settings.values() for tree in trees for key in tree})
    values = {
        key: {arm: {str(tree.get(key, NOT_SET)) for tree in trees} for arm, trees in settings.items()} for key in keys
    }
    return {key: by_arm for key, by_arm in values.items() if len(set().union(*by_arm.values())) > 1}


def _compare_group(study: CollectedStudy, arms: Sequence[str], group: str) -> dict[str, ValuesByArm]:
    """Return the values of the settings in one config group in which the arms differ."""
    return _compare_settings(
        {arm: [dict(flatten_config({group: tree.get(group) or {}})) for tree in study.settings[arm]] for arm in arms}
    )


def _compare_tag(study: CollectedStudy, arms: Sequence[str], tag: str, default: str) -> ValuesByArm:
    """Return the values of a tag by arm, or an empty dict if all runs have the same value."""
    values = {arm: {cell.tags.get(tag, default) for cell in study.get_cells(arm)} for arm in arms}
    return values if len(set().union(*values.values())) > 1 else {}


def _describe_differences(differences: Mapping[str, ValuesByArm]) -> str:
    texts = [f"{key} ({_list_values(by_arm)})" for key, by_arm in differences.items()]
    more = f", and {len(texts) - MAX_LISTED_KEYS} more" if len(texts) > MAX_LISTED_KEYS else ""
    return (
        "the arms may differ only in the filter and the seed, but their runs also differ in "
        f"{', '.join(texts[:MAX_LISTED_KEYS])}{more}"
    )


def _list_values(by_arm: ValuesByArm) -> str:
    return "; ".join(
        f"{arm}: {' and '.join(shorten(value, 60, placeholder='...') for value in sorted(values))}"
        for arm, values in by_arm.items()
    )
