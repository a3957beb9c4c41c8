"""Merge a study's declarations and infer missing values from its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from winnow.comparison.arm_labels import replace_names_with_labels
from winnow.comparison.artifact_reader import ArtifactReader
from winnow.comparison.collected_study import TEST_LOSS, CollectedCell, Declaration
from winnow.comparison.declaration_changes import describe_changes, describe_seeds, find_post_hoc
from winnow.metrics.metric_names import parse_metric_name, probe_metric_name, select_stage
from winnow.tracking.keys import DECLARATION, KIND

FIELDS_FROM_FIRST = {
    "equivalence_margin",
    "block_by_seed",
    "specificity_metric",
    "subjects",
    "comparison_subjects",
    "guard_metric",
    "cost_margin",
    "looks",
    "select",
}
"""The fields that are read from the first declaration only, because later values may depend on the results."""


def merge_declarations(runs: Sequence[Any], artifacts: ArtifactReader) -> tuple[Declaration | None, list[str]]:
    """Return a study's merged declaration, and notes on changes between its first and newest declarations."""
    parents = sorted(
        (run for run in runs if run.data.tags.get(KIND) == "study"), key=lambda run: int(run.info.start_time)
    )
    timed_declarations = [
        (int(run.info.start_time), replace_names_with_labels(raw))
        for run in parents
        if (raw := artifacts.read_json(run.info.run_id, DECLARATION))
    ]
    if not timed_declarations:
        return None, []
    declarations = [raw for _, raw in timed_declarations]
    first_start = min((int(run.info.start_time) for run in runs if run.data.tags.get(KIND) == "cell"), default=0)
    # A declaration can be replaced freely until the first run, so the last declaration before that run is the first
    # binding one.
    first = ([raw for time, raw in timed_declarations if time <= first_start] or declarations[:1])[-1]
    return _merge(declarations, first), describe_changes(first, declarations[-1])


def _merge(declarations: Sequence[Mapping[str, Any]], first: Mapping[str, Any]) -> Declaration:
    values: dict[str, Any] = {"primary_metric": TEST_LOSS}
    names = set(Declaration.__dataclass_fields__) - FIELDS_FROM_FIRST
    for raw in declarations:
        values |= {name: raw[name] for name in names if raw.get(name) is not None}
    values |= {name: first[name] for name in FIELDS_FROM_FIRST if first.get(name) is not None}
    for name in ("secondary_metrics", "filter_words", "probe_words", "subjects", "comparison_subjects", "looks"):
        values[name] = tuple(values.get(name) or ())
    for name in ("arms", "seeds", "tested_filters"):
        values[name] = tuple(dict.fromkeys(entry for raw in declarations for entry in raw.get(name) or ()))
    values["controls"] = {arm: control for raw in declarations for arm, control in (raw.get("controls") or {}).items()}
    values["ablations"] = {arm: signal for raw in declarations for arm, signal in (raw.get("ablations") or {}).items()}
    values["factors"] = merge_factors(raw.get("factors") or {} for raw in declarations)
    values["cell_levels"] = {
        cell: levels for raw in declarations for cell, levels in (raw.get("cell_levels") or {}).items()
    }
    values["cells"] = tuple(tuple(raw.get("cells") or ()) for raw in declarations)
    values["post_hoc"], values["changes"] = find_post_hoc(values, first)
    return Declaration(**values)


def merge_factors(factors: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    """Return the levels of each factor from all declarations, without duplicates.

    >>> merge_factors([{"optimizer.lr": ["1e-4"]}, {"optimizer.lr": ["1e-4", "1e-3"]}])
    {'optimizer.lr': ('1e-4', '1e-3')}
    """
    merged: dict[str, dict[str, None]] = {}
    for by_key in factors:
        for key, levels in by_key.items():
            merged.setdefault(key, {}).update(dict.fromkeys(levels))
    return {key: tuple(levels) for key, levels in merged.items()}


def complete_declaration(
    declaration: Declaration | None, cells: Sequence[CollectedCell], notes: list[str]
) -> Declaration:
    """Return the declaration with missing values inferred from the runs. Append a note on each problem to ``notes``."""
    arms = tuple(sorted({cell.arm for cell in cells}))
    seeds = tuple(sorted({cell.seed for cell in cells}))
    if declaration is None:
        notes.append("Post hoc: the study has no declaration. The metric, arms and seeds are inferred from its runs.")
        primary = _infer_primary_metric(cells)
        changes: tuple[str, ...] = ("nothing was declared before the first run",)
        declaration = Declaration(primary, arms, seeds, post_hoc=(primary, *arms), changes=changes)
    elif undeclared_seeds := sorted(set(seeds) - set(declaration.seeds)):
        notes.append(f"Post hoc: seeds that were run but not declared: {', '.join(map(str, undeclared_seeds))}.")
        extra = tuple(f"seed {seed}" for seed in undeclared_seeds)
        changes = (*declaration.changes, f"{describe_seeds(undeclared_seeds)} not declared")
        declaration = replace(declaration, post_hoc=(*declaration.post_hoc, *extra), changes=changes)
    if missing_arms := [arm for arm in declaration.arms if arm not in arms]:
        notes.append(f"Declared arms without a finished run: {', '.join(missing_arms)}.")
    if declaration.filter is None:
        roles = (declaration.baseline, declaration.control, *declaration.ablations)
        candidates = [arm for arm in arms if arm not in roles]
        declaration = replace(declaration, filter=candidates[0] if candidates else None)
        if len(candidates) > 1:
            notes.append(f"No filter was declared, but several were run. The first filter, {candidates[0]}, is tested.")
    return declaration


def _infer_primary_metric(cells: Sequence[CollectedCell]) -> str:
    """Return the log-odds metric of the probe with the most scored prompts, or the test loss if no run has a probe."""
    prompts: dict[str, float] = {}
    for cell in cells:
        final = select_stage("final", cell.metrics)
        for name in final:
            parsed = parse_metric_name(name)
            if parsed.kind == "probe" and parsed.score == "log_odds":
                prompts[name] = final.get(probe_metric_name(parsed.scope, "scored_prompts"), 0.0)
    return max(sorted(prompts), key=lambda name: prompts[name], default=TEST_LOSS)
