"""Apply the `filter.*` overrides of a sweep only to the cells whose filter has the overridden key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from winnow.config.ablation import ABLATE_KEY
from winnow.config.overrides import parse_override
from winnow.config.search_path import GroupOptions
from winnow.config.targets import allowed_packages, argument_names, import_target
from winnow.errors import WinnowError, did_you_mean

FILTER_PREFIX = "filter."

RANGE_POINTS = 5
"""The number of fractions in a range such as `10%..90%`."""

SWEEP_PREFIX = "sweep."
"""The prefix of filter keys that set the fraction of rows to keep, such as `sweep.mood`."""


def find_filter_key(text: str) -> str | None:
    """Return the key that an override sets in the filter, without `filter.`; `None` if it sets no filter key.

    The key of `filter.signals.mood.at_least=0.4` is `signals.mood.at_least`, and the key of
    `words@filter.signals.praise=positive` is `signals.praise`.
    """
    override = parse_override(text)
    key = str(override.package or override.key_or_group)
    if not key.startswith(FILTER_PREFIX) or override.key_or_group == ABLATE_KEY:
        return None
    return key.removeprefix(FILTER_PREFIX)


def is_filter_setting(text: str) -> bool:
    """Return whether an override sets a value in the filter, such as `filter.signals.mood.at_least=0.4`."""
    return parse_override(text).package is None and find_filter_key(text) is not None


def find_swept_filter_keys(points: Iterable[Sequence[str]]) -> list[str]:
    """Return the filter keys that have several values in a sweep, in the order of the sweep."""
    values: dict[str, dict[str, None]] = {}
    for text in dict.fromkeys(text for point in points for text in point):
        if (key := find_filter_key(text)) is not None:
            values.setdefault(key, {})[text] = None
    return [key for key, texts in values.items() if len(texts) > 1]


def expand_fraction_override(text: str) -> str:
    """Expand a range of fractions of rows, and convert thresholds in `filter.sweep` to settings of the signal.

    >>> expand_fraction_override("filter.sweep.mood=10%..90%")
    'filter.sweep.mood=10%,30%,50%,70%,90%'
    >>> expand_fraction_override("filter.sweep.mood=0.2,0.4")
    'filter.signals.mood.at_least=0.2,0.4'
    """
    match = re.fullmatch(rf"(\+*{re.escape(FILTER_PREFIX + SWEEP_PREFIX)})(\w+)=(.+)", text)
    if match is None:
        return text
    prefix, signal, value = match.groups()
    if limits := re.fullmatch(r"([\d.]+)%\.\.([\d.]+)%", value):
        low, high = map(float, limits.groups())
        step = (high - low) / (RANGE_POINTS - 1)
        value = ",".join(f"{low + step * index:g}%" for index in range(RANGE_POINTS))
    if re.fullmatch(r"[-\d.,e ]+", value):
        return f"{FILTER_PREFIX}signals.{signal}.at_least={value}"
    return f"{prefix}{signal}={value}"


class FilterSettingSelector:
    """Selects the `filter.*` overrides that apply to each cell of a sweep over several filters.

    In sweeps over a single filter, all overrides apply, so an unknown key is reported together with the allowed keys.

    Args:
        points: The overrides of every cell.
        choices: The options of each config group.
        allow: Packages whose classes the user permits as targets.
        compose: A function that composes a config from overrides, and returns `None` if the composition fails.
    """

    def __init__(
        self,
        points: Iterable[Sequence[str]],
        choices: GroupOptions,
        allow: Iterable[str],
        compose: Callable[[list[str]], dict[str, Any] | None],
    ) -> None:
        self._choices = choices
        self._allow = tuple(allow)
        self._compose = compose
        self._is_active = _has_several_filters(points)
        self._trees: dict[tuple[str, ...], dict[str, Any]] = {}
        self._requested: dict[str, None] = {}
        self._applied: set[str] = set()

    def select(self, overrides: list[str]) -> list[str]:
        """Return the overrides of a cell without the settings that the cell's filter does not have."""
        requested = [text for text in overrides if is_filter_setting(text)]
        if not self._is_active or not requested:
            return overrides
        remaining = [text for text in overrides if text not in requested]
        files = tuple(text for text in remaining if parse_override(text).key_or_group in self._choices)
        if files not in self._trees:
            self._trees[files] = self._compose(remaining) or {}
        tree = self._trees[files]
        applicable, inapplicable = overrides, list[str]()
        if isinstance(node := tree.get("filter"), Mapping):
            applicable, inapplicable = assign_filter_settings(overrides, node, self._allow)
        self._requested |= dict.fromkeys(requested)
        self._applied |= set(requested) - set(inapplicable)
        return applicable

    def find_unused_settings(self) -> list[WinnowError]:
        """Return an error for each filter setting that does not apply to any filter in the sweep."""
        nodes = [tree.get("filter") or {} for tree in self._trees.values()]
        return [_build_unused_setting_error(text, nodes) for text in self._requested if text not in self._applied]


def assign_filter_settings(
    overrides: Sequence[str], node: Mapping[str, Any], allow: Iterable[str]
) -> tuple[list[str], list[str]]:
    """Divide the overrides of a cell into those that apply to the cell's filter and those that do not.

    If a control or an ablation lacks the key but its base filter has it, the override applies to the base filter.

    Args:
        overrides: The overrides of the cell.
        node: The composed filter of the cell, before `filter.*` overrides are applied.
        allow: Packages whose classes the user permits as targets.

    Returns:
        The overrides that apply, in the same order, and the overrides that do not.
    """
    allowed = allowed_packages(allow)
    applicable: list[str] = []
    inapplicable: list[str] = []
    for text in overrides:
        key = find_filter_key(text) if is_filter_setting(text) else None
        base = node.get("of")
        if key is None or _accepts_setting(node, key, allowed):
            applicable.append(text)
        elif isinstance(base, Mapping) and _accepts_setting(base, key, allowed):
            applicable.append(text.replace(FILTER_PREFIX, f"{FILTER_PREFIX}of.", 1))
        else:
            inapplicable.append(text)
    return applicable, inapplicable


def _has_several_filters(points: Iterable[Sequence[str]]) -> bool:
    """Return whether a sweep selects several options of the config group `filter`."""
    overrides = {text: parse_override(text) for point in points for text in point}
    return len({text for text, item in overrides.items() if item.key_or_group == "filter" and not item.package}) > 1


def _build_unused_setting_error(text: str, nodes: Sequence[Mapping[str, Any]]) -> WinnowError:
    """Build the error for a filter setting that does not apply to any filter in a sweep."""
    key = text.split("=")[0].lstrip("+~")
    available = ["filter", *dict.fromkeys(name for node in nodes for name in _list_keys(node, FILTER_PREFIX))]
    segments = key.split(".")
    prefixes = [".".join(segments[:end]) for end in range(1, len(segments) + 1)]
    unknown = next((prefix for prefix in prefixes if prefix not in available), key)
    hint = did_you_mean(unknown, available)
    return WinnowError(
        f"no filter in this sweep has this key.{hint} Add a filter that has the key, or remove the override.", key
    )


def _accepts_setting(node: Mapping[str, Any], key: str, allowed: Sequence[str]) -> bool:
    """Return whether a filter accepts a setting. The fraction of rows in `sweep.NAME` requires the signal `NAME`."""
    if key.startswith(SWEEP_PREFIX):
        signals = node.get("signals")
        return isinstance(signals, Mapping) and key.removeprefix(SWEEP_PREFIX) in signals
    return _accepts_key(node, key.split("."), allowed)


def _accepts_key(node: Mapping[str, Any], path: Sequence[str], allowed: Sequence[str]) -> bool:
    """Return whether a key exists in a node of a composed config or is an argument of the node's `_target_`."""
    name, *rest = path
    if name in node and rest:
        return isinstance(node[name], Mapping) and _accepts_key(node[name], rest, allowed)
    if name in node:
        return True
    if "_target_" not in node:
        return not rest  # a new entry of a mapping, such as a signal
    target = import_target(str(node["_target_"]), "filter._target_", allowed, [])
    names = argument_names(target) if target is not None else []
    return not names or name in names


def _list_keys(node: Mapping[str, Any], prefix: str) -> list[str]:
    """Return the full keys of all values and mappings in a nested mapping."""
    keys: list[str] = []
    for name, value in node.items():
        keys.append(f"{prefix}{name}")
        keys += _list_keys(value, f"{prefix}{name}.") if isinstance(value, Mapping) else []
    return keys
