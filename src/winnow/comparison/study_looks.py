"""Determine at which interim look a study is compared, and reconstruct the earlier looks from its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.interim_looks import InterimLooks

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EarlierLook:
    """An interim look that precedes the current comparison.

    Attributes:
        study: The study with the seeds of the look.
        seeds: Seeds per arm.
        confidence: Coverage of the intervals at the look. The tests use the level ``1 - confidence``.
    """

    study: CollectedStudy
    seeds: int
    confidence: float


@dataclass(frozen=True)
class StudyLook:
    """The interim look at which a study is compared.

    Attributes:
        confidence: Coverage of the intervals. The tests use the level ``1 - confidence``.
        note: A sentence about the look; ``None`` if the study has no declared looks.
        change: Why the comparison is post hoc; ``None`` if the look was declared or no looks are required.
        earlier: The declared looks with fewer seeds, in ascending order.
    """

    confidence: float
    note: str | None = None
    change: str | None = None
    earlier: tuple[EarlierLook, ...] = ()


def find_look(study: CollectedStudy, confidence: float) -> StudyLook:
    """Return the look that matches the number of finished seeds per arm.

    The number of seeds is the smallest among the filter, the baseline and the control. If it does not match a
    declared look, the comparison is post hoc, and the smallest significance level of all looks is used.

    Args:
        study: The study.
        confidence: The coverage of the intervals of a study without interim looks.
    """
    declaration = study.declaration
    if not declaration.looks:
        return StudyLook(confidence)
    looks = InterimLooks(declaration.looks, 1 - confidence)
    seeds = min((len(study.get_cells(arm)) for arm in _list_main_arms(study)), default=0)
    earlier = _find_earlier_looks(study, looks, seeds)
    if seeds in looks.seeds:
        number, level = looks.seeds.index(seeds) + 1, looks.get_level(seeds)
        note = (
            f"Interim look {number} of {len(looks.seeds)}, after {seeds} seeds per arm: the significance level is "
            f"{level:.3g}."
        )
        return StudyLook(looks.get_confidence(seeds), note, earlier=earlier)
    declared = ", ".join(map(str, looks.seeds))
    note = f"Post hoc: {seeds} seeds per arm have finished, but interim looks were declared after {declared} seeds."
    return StudyLook(1 - min(looks.levels), note, f"no interim look was declared after {seeds} seeds", earlier)


def _list_main_arms(study: CollectedStudy) -> list[str]:
    """Return the filter, the baseline and the control, if they have finished runs."""
    declaration = study.declaration
    arms = (declaration.filter, declaration.baseline, declaration.control)
    return [arm for arm in dict.fromkeys(arms) if arm is not None and study.get_cells(arm)]


def _find_earlier_looks(study: CollectedStudy, looks: InterimLooks, seeds: int) -> tuple[EarlierLook, ...]:
    """Return the declared looks with fewer seeds, each with the first seeds that finished in all main arms.

    These are the seeds that a comparison at that time included. The order of completion does not depend on the scores,
    so the level of a look also holds if no comparison was made at that time.
    """
    finish_times = [
        {cell.seed: cell.start_time + 1000 * cell.seconds for cell in study.get_cells(arm)}
        for arm in _list_main_arms(study)
    ]
    shared_seeds = set.intersection(*map(set, finish_times)) if finish_times else set()
    order = sorted(shared_seeds, key=lambda seed: (max(times[seed] for times in finish_times), seed))
    return tuple(
        EarlierLook(_select_seeds(study, order[:count]), count, looks.get_confidence(count))
        for count in looks.seeds
        if count < min(seeds, len(order) + 1)
    )


def _select_seeds(study: CollectedStudy, seeds: list[int]) -> CollectedStudy:
    """Return the study with the runs and scores of the given seeds only."""

    def select(table: pd.DataFrame) -> pd.DataFrame:
        return table if table.empty else table[table["seed"].isin(seeds)]

    cells = tuple(cell for cell in study.cells if cell.seed in seeds)
    return replace(study, cells=cells, prompts=select(study.prompts), rows=select(study.rows))
