"""What was declared before a study's first run, and what had to be read from the runs instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from winnow.comparison.artifacts import Artifacts
from winnow.tracking.record import DECLARATION, KIND

DEFAULT_PRIMARY = "probe/nike_wide/log_odds"


@dataclass(frozen=True)
class Declaration:
    """What was fixed before the first run: metrics, arms and their roles, seeds and budget.

    A study may be declared again, to add seeds or an arm: ``arms`` and ``seeds`` are those of all declarations, metrics
    and roles those of the newest that names them. ``cells`` holds the cell ids of each declaration, the oldest first.
    """

    primary_metric: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    secondary_metrics: tuple[str, ...] = ()
    baseline: str = "full"
    filter: str | None = None
    control: str | None = "random_matched"
    max_steps: int | None = None
    filter_words: tuple[str, ...] = ()
    probe_words: tuple[str, ...] = ()
    cells: tuple[tuple[str, ...], ...] = ()


def declared(runs: Sequence[Any], artifacts: Artifacts) -> tuple[Declaration | None, list[str]]:
    """Return all declarations as one, with a note on what the later ones changed of the first."""
    parents = sorted(
        (run for run in runs if run.data.tags.get(KIND) == "study"), key=lambda run: int(run.info.start_time)
    )
    found = [raw for run in parents if (raw := artifacts.read_json(run.info.run_id, DECLARATION))]
    if not found:
        return None, []
    changed = [
        f"{key.replace('_', ' ')} (first {found[0].get(key)}, now {found[-1].get(key)})"
        for key in ("primary_metric", "secondary_metrics", "arms", "seeds", "max_steps")
        if found[0].get(key) != found[-1].get(key)
    ]
    notes = [f"Post hoc: declared anew after the first run: {'; '.join(changed)}."] if changed else []
    return _merged(found), notes


def _merged(found: Sequence[dict[str, Any]]) -> Declaration:
    known: dict[str, Any] = {"primary_metric": DEFAULT_PRIMARY}
    for raw in found:
        known |= {name: raw[name] for name in Declaration.__dataclass_fields__ if raw.get(name) is not None}
    for name in ("secondary_metrics", "filter_words", "probe_words"):
        known[name] = tuple(known.get(name) or ())
    for name in ("arms", "seeds"):
        known[name] = tuple(dict.fromkeys(value for raw in found for value in raw.get(name) or ()))
    known["cells"] = tuple(tuple(raw.get("cells") or ()) for raw in found)
    return Declaration(**known)


def completed(declaration: Declaration | None, ran: set[tuple[str, int]], notes: list[str]) -> Declaration:
    """Fill in what was not declared from what ran, and say so."""
    arms = tuple(sorted({arm for arm, _ in ran}))
    seeds = tuple(sorted({seed for _, seed in ran}))
    if declaration is None:
        notes.append("Post hoc: nothing was declared before the runs; metric, arms and seeds are read from the runs.")
        declaration = Declaration(DEFAULT_PRIMARY, arms, seeds)
    elif added := sorted(set(seeds) - set(declaration.seeds)):
        notes.append(f"Post hoc: seed {', '.join(map(str, added))} ran though it was not declared.")
    if absent := [arm for arm in declaration.arms if arm not in arms]:
        notes.append(f"Declared but without a finished run: {', '.join(absent)}.")
    if declaration.filter is None:
        others = [arm for arm in arms if arm not in (declaration.baseline, declaration.control)]
        declaration = replace(declaration, filter=others[0] if others else None)
        if len(others) > 1:
            notes.append(f"Several filters ran and none was declared; {others[0]} is taken as the one under test.")
    return declaration
