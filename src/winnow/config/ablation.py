"""Leave-one-out ablations: `filter.ablate` adds one cell per signal of a filter, with that signal removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.errors import WinnowError, did_you_mean

ABLATE_KEY = "filter.ablate"


def pop_ablate(tree: dict[str, Any]) -> Any:
    """Remove `ablate` from every filter in a composed config, and return the value of `filter.ablate`."""
    evaluation = tree.get("evaluation")
    slices = evaluation.get("slices") if isinstance(evaluation, Mapping) else None
    for node in slices.values() if isinstance(slices, Mapping) else ():
        _pop_ablate_from_node(node)
    return _pop_ablate_from_node(tree.get("filter"))


def _pop_ablate_from_node(node: Any) -> Any:
    if not isinstance(node, dict):
        return None
    _pop_ablate_from_node(node.get("of"))  # the base filter of a control arm, which another cell ablates
    return node.pop("ablate", None)


def build_ablation_configs(
    tree: Mapping[str, Any], requested: Any, errors: list[WinnowError]
) -> dict[str, dict[str, Any]]:
    """Return one composed config per signal to leave out, keyed by signal.

    The result is empty for filters without signals, such as `full` and the random controls. One override can therefore
    apply to a full sweep.

    Args:
        tree: The composed config of the cell with all signals of the filter.
        requested: The value of `filter.ablate`: `all`, the name of a signal, or a list of names.
        errors: A list to which an error is appended for each unknown signal.
    """
    node = tree.get("filter")
    if not isinstance(node, Mapping) or not isinstance(node.get("signals"), Mapping):
        return {}
    signals = list(node["signals"])
    selected = signals if requested == "all" else [requested] if isinstance(requested, str) else requested
    if not isinstance(selected, list) or not all(isinstance(name, str) for name in selected):
        message = (
            f"expected 'all', a signal or a list of signals, got {requested!r}. Allowed: all, {', '.join(signals)}."
        )
        errors.append(WinnowError(message, ABLATE_KEY))
        return {}
    for name in selected:
        if name not in signals:
            message = f"the filter {node.get('name')!r} has no signal {name!r}.{did_you_mean(name, signals)}"
            errors.append(WinnowError(f"{message} Allowed: all, {', '.join(signals)}.", ABLATE_KEY))
    return {
        name: {**tree, "filter": {"_target_": "winnow.filters.LeaveOneOut", "of": dict(node), "signal": name}}
        for name in dict.fromkeys(selected)
        if name in signals
    }
