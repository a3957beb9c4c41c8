"""Find the interim look of a study, and the confidence of its intervals."""

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
        change: Why the comparison is post hoc; ``None`` if it is not.
    """

    confidence: float
    note: str | None = None
    change: str | None = None


def find_look(study: CollectedStudy, confidence: float) -> StudyLook:
    """Return the look that matches the number of finished seeds per arm.

    The number of seeds is the smallest among the filter, the baseline and the control. If it is not one of the declared
    looks, the comparison is post hoc, and the smallest level of all looks is used.

    Args:
        study: The study.
        confidence: The coverage without interim looks.
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
        note = f"Interim look {number} of {len(looks.seeds)}, after {seeds} seeds per arm: the level is {level:.3g}."
        return StudyLook(looks.get_confidence(seeds), note)
    declared = ", ".join(map(str, looks.seeds))
    note = f"Post hoc: {seeds} seeds per arm have finished, but looks are declared after {declared} seeds."
    return StudyLook(1 - min(looks.levels), note, f"no look is declared after {seeds} seeds")
