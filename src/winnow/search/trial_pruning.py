"""Check whether a search can prune trials, and read the validation curves of its runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from winnow.errors import WinnowError
from winnow.run.pruning import find_curve_metric
from winnow.search.objective import Objective
from winnow.studies.launchers import Launcher
from winnow.tracking import Attempt, Store
from winnow.tracking.run_queries import iter_metric_histories


def find_pruning_errors(objectives: Sequence[Objective], launcher: Launcher) -> list[WinnowError]:
    """Return why a search cannot prune trials; an empty list if it can."""
    errors = []
    if len(objectives) > 1:
        errors.append("a search with two objectives has no single curve to compare. Set pruner=none.")
    elif find_curve_metric(objectives[0].metric) is None:
        errors.append(
            f"{objectives[0].metric} is not measured during training. Set pruner=none, or choose a probe score or "
            "validation/all/loss as the objective."
        )
    if launcher.processes_per_cell > 1:
        errors.append("the launcher starts several processes per cell. Set pruner=none, or choose another launcher.")
    return [WinnowError(f"expected none, got median: {message}", "pruner") for message in errors]


def read_curve(store: Store, attempt: Attempt, objective: str) -> dict[int, float]:
    """Return the objective at each validation run, by step. The base model (step 0) is excluded."""
    metric = find_curve_metric(objective)
    assert metric is not None, "the search has checked that the objective is measured during training"
    history = iter_metric_histories(store.client(), attempt.run_id, [metric])
    return {step: value for _, step, value in history if step > 0 and math.isfinite(value)}
