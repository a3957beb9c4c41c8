"""Join the runs of several studies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from winnow.comparison.collected_study import CollectedCell, Declaration
from winnow.comparison.declaration_merging import merge_factors
from winnow.comparison.setting_differences import STUDY_FACTOR
from winnow.tracking.keys import RECIPE


@dataclass(frozen=True)
class StudyRuns:
    """All runs of one study, its merged declaration, and the selected cells."""

    name: str
    runs: list[Any]
    declaration: Declaration | None
    cells: list[CollectedCell]
    notes: list[str]


def join_studies(studies: Sequence[StudyRuns]) -> tuple[list[CollectedCell], Declaration | None, list[str]]:
    """Return the cells and notes of all studies, and the declaration of the first study."""
    first, *later_studies = studies
    notes = [f"{study.name}: {note}" if later_studies else note for study in studies for note in study.notes]
    if not later_studies:
        return first.cells, first.declaration, notes
    if _have_different_settings(studies):
        cells = [
            replace(cell, levels={STUDY_FACTOR: study.name, **cell.levels}) for study in studies for cell in study.cells
        ]
    else:
        recipes = {(cell.arm, cell.level): cell.tags.get(RECIPE) for cell in first.cells}
        cells = list(first.cells)
        for study in later_studies:
            for cell in study.cells:
                recipe = recipes.setdefault((cell.arm, cell.level), cell.tags.get(RECIPE))
                differs = recipe != cell.tags.get(RECIPE)
                cells.append(replace(cell, arm=f"{cell.arm} ({study.name})") if differs else cell)
    later_names = ", ".join(study.name for study in later_studies)
    notes.append(f"Post hoc: {first.name} is joined with {later_names}, which its declaration does not mention.")
    declaration = first.declaration
    if declaration is not None:
        added_arms = dict.fromkeys(cell.arm for cell in cells if cell.arm not in declaration.arms)
        changes = (*declaration.changes, f"joined with {later_names}")
        factors = merge_factors(study.declaration.factors for study in studies if study.declaration is not None)
        if any(STUDY_FACTOR in cell.levels for cell in cells):
            factors = {STUDY_FACTOR: tuple(study.name for study in studies), **factors}
        post_hoc = (*declaration.post_hoc, *added_arms)
        declaration = replace(declaration, post_hoc=post_hoc, changes=changes, factors=factors)
    return keep_newest(cells), declaration, notes


def _have_different_settings(studies: Sequence[StudyRuns]) -> bool:
    """Return whether the studies trained the same arms, including the baseline, with different settings.

    Each filter is then compared with the baseline within each study, and the study is a factor.
    """
    first = studies[0]
    recipes = [{(cell.arm, cell.level): cell.tags.get(RECIPE) for cell in study.cells} for study in studies]
    baseline = first.declaration.baseline if first.declaration is not None else Declaration.baseline
    for other in recipes[1:]:
        shared = recipes[0].keys() & other.keys()
        changed = {arm for arm, level in shared if recipes[0][arm, level] != other[arm, level]}
        if not (baseline in changed and len(changed) > 1):
            return False
    return True


def keep_newest(cells: Iterable[CollectedCell]) -> list[CollectedCell]:
    """Return the newest cell of each arm, factor level and seed."""
    newest = {(cell.arm, cell.level, cell.seed): cell for cell in sorted(cells, key=lambda cell: cell.start_time)}
    return sorted(newest.values(), key=lambda cell: (cell.arm, cell.level, cell.seed))
