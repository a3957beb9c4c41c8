"""Determine at which interim look a study is compared, and the confidence level of that look."""

from __future__ import annotations

from dataclasses import dataclass

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.interim_looks import InterimLooks


@dataclass(frozen=True)
class StudyLook:
    """The interim look at which a study is compared.

    Attributes:
        confidence: Coverage of the intervals. The tests use the level ``1 - confidence``.
        note: A sentence about the look; ``None`` if the study has no declared looks.
        change: Why the comparison is post hoc; ``None`` if the look was declared or no looks are required.
    """

    confidence: float
    note: str | None = None
    change: str | None = None


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
    arms = (declaration.filter, declaration.baseline, declaration.control)
    counts = [len(study.get_cells(arm)) for arm in arms if arm is not None]
    seeds = min((count for count in counts if count), default=0)
    if seeds in looks.seeds:
        number, level = looks.seeds.index(seeds) + 1, looks.get_level(seeds)
        note = (
            f"Interim look {number} of {len(looks.seeds)}, after {seeds} seeds per arm: the significance level is "
            f"{level:.3g}."
        )
        return StudyLook(looks.get_confidence(seeds), note)
    declared = ", ".join(map(str, looks.seeds))
    note = f"Post hoc: {seeds} seeds per arm have finished, but interim looks were declared after {declared} seeds."
    return StudyLook(1 - min(looks.levels), note, f"no interim look was declared after {seeds} seeds")
