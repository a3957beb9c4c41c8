"""What was declared before a study's first run, and what had to be read from the runs instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from winnow.comparison.artifacts import Artifacts
from winnow.comparison.collected_study import Cell, Declaration
from winnow.metrics.metric_names import ALL, held_out_metric, of_stage, parse, probe_metric
from winnow.tracking.keys import DECLARATION, KIND

TEST_LOSS = held_out_metric("test", ALL, "loss")


def declared(runs: Sequence[Any], artifacts: Artifacts) -> tuple[Declaration | None, list[str]]:
    """Return all declarations as one, with a note on what the later ones changed of the first."""
    parents = sorted(
        (run for run in runs if run.data.tags.get(KIND) == "study"), key=lambda run: int(run.info.start_time)
    )
    dated = [
        (int(run.info.start_time), raw) for run in parents if (raw := artifacts.read_json(run.info.run_id, DECLARATION))
    ]
    if not dated:
        return None, []
    found = [raw for _, raw in dated]
    began = min((int(run.info.start_time) for run in runs if run.data.tags.get(KIND) == "cell"), default=0)
    # A declaration that was mended before anything ran replaces the one before it.
    first = [raw for at, raw in dated if at <= began][-1:] or found[:1]
    merged = _merged(found, first[0])
    return merged, _changes(first[0], found[-1])


def _merged(found: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> Declaration:
    known: dict[str, Any] = {"primary_metric": TEST_LOSS}
    for raw in found:
        known |= {name: raw[name] for name in Declaration.__dataclass_fields__ if raw.get(name) is not None}
    for name in ("secondary_metrics", "filter_words", "probe_words"):
        known[name] = tuple(known.get(name) or ())
    for name in ("arms", "seeds"):
        known[name] = tuple(dict.fromkeys(value for raw in found for value in raw.get(name) or ()))
    known["ablations"] = {arm: signal for raw in found for arm, signal in (raw.get("ablations") or {}).items()}
    known["cells"] = tuple(tuple(raw.get("cells") or ()) for raw in found)
    known["equivalence_margin"] = first.get("equivalence_margin")
    known["block_by_seed"] = bool(first.get("block_by_seed"))
    known["post_hoc"] = _added(known, first)
    return Declaration(**known)


def _added(known: Mapping[str, Any], first: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics, arms and seeds that the first declaration does not name."""
    metrics = {first.get("primary_metric"), *(first.get("secondary_metrics") or ())}
    return (
        *(name for name in (known["primary_metric"], *known["secondary_metrics"]) if name not in metrics),
        *(arm for arm in known["arms"] if arm not in (first.get("arms") or ())),
        *(f"seed {seed}" for seed in known["seeds"] if seed not in (first.get("seeds") or ())),
    )


def _changes(first: Mapping[str, Any], last: Mapping[str, Any]) -> list[str]:
    changed = [
        f"{key.replace('_', ' ')} (first {first.get(key)}, now {last.get(key)})"
        for key in ("primary_metric", "secondary_metrics", "arms", "seeds", "max_steps")
        if first.get(key) != last.get(key)
    ]
    notes = [f"Post hoc: declared anew after the first run: {'; '.join(changed)}."] if changed else []
    blocks = [bool(raw.get("block_by_seed")) for raw in (first, last)]
    if blocks[0] != blocks[1]:
        notes.append(
            f"Post hoc: block_by_seed was changed to {blocks[1]} after the first run; the first, {blocks[0]}, counts."
        )
    before, after = first.get("equivalence_margin"), last.get("equivalence_margin")
    if after is not None and before != after:
        counts = f"the first, {before}, counts" if before else "no arm is told to be equal by it"
        notes.append(f"Post hoc: the equivalence margin {after} was set after the first run; {counts}.")
    return notes


def completed(declaration: Declaration | None, cells: Sequence[Cell], notes: list[str]) -> Declaration:
    """Fill in what was not declared from what ran, and say so."""
    arms = tuple(sorted({cell.arm for cell in cells}))
    seeds = tuple(sorted({cell.seed for cell in cells}))
    if declaration is None:
        notes.append("Post hoc: nothing was declared before the runs; metric, arms and seeds are read from the runs.")
        primary = _undeclared_primary(cells)
        declaration = Declaration(primary, arms, seeds, post_hoc=(primary, *arms))
    elif added := sorted(set(seeds) - set(declaration.seeds)):
        notes.append(f"Post hoc: seed {', '.join(map(str, added))} ran though it was not declared.")
        extra = tuple(f"seed {seed}" for seed in added)
        declaration = replace(declaration, post_hoc=(*declaration.post_hoc, *extra))
    if absent := [arm for arm in declaration.arms if arm not in arms]:
        notes.append(f"Declared but without a finished run: {', '.join(absent)}.")
    if declaration.filter is None:
        roles = (declaration.baseline, declaration.control, *declaration.ablations)
        others = [arm for arm in arms if arm not in roles]
        declaration = replace(declaration, filter=others[0] if others else None)
        if len(others) > 1:
            notes.append(f"Several filters ran and none was declared; {others[0]} is taken as the one under test.")
    return declaration


def _undeclared_primary(cells: Sequence[Cell]) -> str:
    """Return the log odds of the probe with the most scored prompts; the test loss if no run has a probe."""
    prompts: dict[str, float] = {}
    for cell in cells:
        final = of_stage("final", cell.metrics)
        for name in final:
            named = parse(name)
            if named.kind == "probe" and named.score == "log_odds":
                prompts[name] = final.get(probe_metric(named.place, "scored_prompts"), 0.0)
    return max(sorted(prompts), key=lambda name: prompts[name], default=TEST_LOSS)
