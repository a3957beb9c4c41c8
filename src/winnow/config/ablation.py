"""Leave-one-out arms: `filter.ablate` adds to a filter's own cell one cell for each signal that it is tried without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.errors import WinnowError, did_you_mean

KEY = "filter.ablate"


def asked_of(tree: dict[str, Any]) -> Any:
    """Take `ablate` out of every filter of a composed tree, and return what it is for the cell's own."""
    slices = (tree.get("evaluation") or {}).get("slices") or {}
    for node in slices.values():
        _taken(node)
    return _taken(tree.get("filter"))


def _taken(node: Any) -> Any:
    if not isinstance(node, dict):
        return None
    _taken(node.get("of"))  # a control of a filter that is taken apart in its own cell
    return node.pop("ablate", None)


def arms(tree: Mapping[str, Any], asked: Any, faults: list[WinnowError]) -> dict[str, dict[str, Any]]:
    """Return a tree for each signal to leave out, by signal.

    Only a filter that has signals of its own gets such arms, so that one override serves a whole sweep: `full` and the
    random controls stay as they are.

    Args:
        tree: The composed tree of the filter's own cell.
        asked: `all`, the name of a signal, or a list of names.
        faults: What is wrong with it is added here.
    """
    whole = tree.get("filter")
    if not isinstance(whole, Mapping) or not isinstance(whole.get("signals"), Mapping):
        return {}
    signals = list(whole["signals"])
    chosen = signals if asked == "all" else [asked] if isinstance(asked, str) else asked
    if not isinstance(chosen, list) or not all(isinstance(name, str) for name in chosen):
        faults.append(WinnowError(f"{asked!r} was given. Allowed: all, or a list of signals.", KEY))
        return {}
    for name in chosen:
        if name not in signals:
            told = f"the filter {whole.get('name')!r} has no signal {name!r}.{did_you_mean(name, signals)}"
            faults.append(WinnowError(f"{told} It has {', '.join(signals)}; `all` takes each in turn.", KEY))
    return {
        name: {**tree, "filter": {"_target_": "winnow.filters.LeaveOneOut", "of": dict(whole), "signal": name}}
        for name in dict.fromkeys(chosen)
        if name in signals
    }
