"""Add random controls to a study, and share controls that select the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from winnow.config.targets import shortest_import_path
from winnow.filters import RandomMatched
from winnow.run.held_out_slices import apply_filter
from winnow.run.run_components import extract_filters
from winnow.studies.study_cell import StudyCell, TrainCell

MATCHED_PROPERTIES: Final = {"auto": [], "stratified": ["source", "label", "length"]}
"""The properties that the controls match in addition to the number of rows, by the value of `study.controls`."""

CONTROL_SUFFIXES: Final = {"auto": "random", "stratified": "stratified"}
"""The suffix that is added to a filter's name to form its control's name, by the value of `study.controls`."""


def add_controls(cells: Sequence[TrainCell]) -> list[TrainCell]:
    """Return the cells of a sweep, followed by the cells of the controls that `study.controls` requests.

    Every filter gets a control with the same seeds, unless the sweep already contains a control for it.
    """
    mode = cells[0].config.study.controls
    if mode == "none":
        return list(cells)
    has_control = {name for cell in cells if _is_control(cell) for name in extract_filters(cell.config.filter)}
    controls = []
    for cell in cells:
        node = cell.config.filter
        if "keep" not in node or node["name"] in has_control:
            continue
        control = {
            "_target_": shortest_import_path(RandomMatched),
            "of": dict(node),
            "name": f"{node['name']}-{CONTROL_SUFFIXES[mode]}",
            "label": f"{node.get('label') or node['name']} {CONTROL_SUFFIXES[mode]}",
            "match": list(MATCHED_PROPERTIES[mode]),
        }
        controls.append(dataclasses.replace(cell, config=dataclasses.replace(cell.config, filter=control)))
    return [*cells, *controls]


def share_controls(cells: Sequence[StudyCell]) -> tuple[list[StudyCell], dict[str, str]]:
    """Remove each control that selects the same rows as an earlier control, and find the control of each filter.

    Controls are shared only in studies with `study.controls=auto` or `stratified`. All filters must be applied first.

    Returns:
        The remaining cells, and a dict that maps each filter arm with a control to its control arm.
    """
    is_automatic = cells[0].config.study.controls != "none"
    representatives: dict[tuple[Any, ...], str] = {}
    controls: dict[str, str] = {}
    removed: set[str] = set()
    for arm, arm_cells in _group_by_arm(cells).items():
        selection = arm_cells[0].components.filter
        if not isinstance(selection, RandomMatched):
            continue
        representative = arm
        if is_automatic:
            seeds = sorted((cell.config.seed, *cell.levels.values()) for cell in arm_cells)
            representative = representatives.setdefault((*_identify_rows(arm_cells[0], selection), *seeds), arm)
        controls.setdefault(selection.of.name, representative)
        removed |= {arm} - {representative}
    return [cell for cell in cells if cell.arm not in removed], controls


def _identify_rows(cell: StudyCell, selection: RandomMatched) -> tuple[Any, ...]:
    """Return a key that is equal for two controls if they select the same rows for every seed."""
    components = cell.components
    corpus, name = components.corpus, selection.of.name
    verdicts = apply_filter(components.slices[name], corpus, components.cache, components.filter_key(name))
    counts = selection.count_rows(corpus.split("train"), verdicts)
    return (corpus.fingerprint, tuple(selection.match), counts)


def _group_by_arm(cells: Sequence[StudyCell]) -> Mapping[str, list[StudyCell]]:
    groups: dict[str, list[StudyCell]] = {}
    for cell in cells:
        groups.setdefault(cell.arm, []).append(cell)
    return groups


def _is_control(cell: TrainCell) -> bool:
    return "of" in cell.config.filter and "signal" not in cell.config.filter
