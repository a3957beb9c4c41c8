"""The protocol of a study, stored before its first cell runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from winnow.config import Cell, TrainConfig
from winnow.filters import RandomMatched, Without
from winnow.parts import Parts


def declare(cells: Sequence[Cell[TrainConfig]], parts: Sequence[Parts], ids: Sequence[str]) -> dict[str, Any]:
    """Return the protocol of the study, as it stands before the first run."""
    study = cells[0].config.study
    arms = list(dict.fromkeys(part.filter.name for part in parts))
    controls = {part.filter.name: part.filter.of.name for part in parts if isinstance(part.filter, RandomMatched)}
    ablations = {part.filter.name: part.filter.signal for part in parts if isinstance(part.filter, Without)}
    ablations = {arm: signal for arm, signal in ablations.items() if signal is not None}
    tested = [arm for arm in arms if arm != study.baseline and arm not in controls and arm not in ablations]
    under_test = next(iter(controls.values()), tested[0] if tested else None)
    filters = {part.filter.name: part.filter for part in parts}
    budgets = {cell.config.training.max_steps for cell in cells}
    return {
        "study": study.name,
        "primary_metric": study.primary_metric,
        "secondary_metrics": list(study.secondary_metrics),
        "equivalence_margin": study.equivalence_margin,
        "arms": arms,
        "baseline": study.baseline,
        "filter": under_test,
        "control": next(iter(controls), None),
        "ablations": ablations,
        "seeds": sorted({cell.config.seed for cell in cells}),
        "max_steps": budgets.pop() if len(budgets) == 1 else None,
        "filter_words": sorted(filters[under_test].words()) if under_test in filters else [],
        "probe_words": sorted({word for probe in parts[0].probes.values() for word in probe.words()}),
        "cells": list(ids),
    }
