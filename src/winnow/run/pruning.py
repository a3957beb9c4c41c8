"""The rule that stops a run of a search whose validation curve is worse than the curves of earlier trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from winnow.metrics.metric_names import VALIDATION_LOSS, parse_metric_name

MIN_CURVES: Final = 5
"""The number of complete trials before any trial is pruned, as in Optuna's median pruner."""

WARMUP_FRACTION: Final = 1 / 3
"""The first fraction of the budget, in which no run is pruned, because early scores do not predict the final score."""


def find_curve_metric(objective: str) -> str | None:
    """Return the metric that is logged at every validation run and ends at the objective; ``None`` if there is none.

    >>> find_curve_metric("validation/all/loss"), find_curve_metric("probe/nike/log_odds")
    ('validation/loss', 'probe/nike/log_odds')
    >>> find_curve_metric("validation/all/top1") is None
    True
    """
    if objective == "validation/all/loss":
        return VALIDATION_LOSS
    return objective if parse_metric_name(objective).kind == "probe" else None


@dataclass(frozen=True)
class Pruning:
    """The rule that stops a run, which Optuna's median pruner implements.

    A run is stopped if its best value so far is worse than the median of the other curves at the same step. The curves
    are passed by value, so the process that trains the run needs no access to Optuna's storage.

    Attributes:
        metric: The metric of the curves, see :func:`find_curve_metric`.
        maximize: Whether higher values are better.
        curves: The values by step of each complete trial, for the same seed.
    """

    metric: str
    maximize: bool
    curves: list[dict[int, float]] = field(default_factory=list)

    def is_worse(self, curve: Mapping[int, float], max_steps: int) -> bool:
        """Return whether a run with this curve should stop after the last step of the curve."""
        if len(self.curves) < MIN_CURVES or max(curve, default=0) >= max_steps:
            return False
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.MedianPruner(MIN_CURVES, n_warmup_steps=int(WARMUP_FRACTION * max_steps))
        study = optuna.create_study(direction="maximize" if self.maximize else "minimize", pruner=pruner)
        for other in self.curves:
            study.add_trial(optuna.trial.create_trial(value=other[max(other)], intermediate_values=other))
        trial = study.ask()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a value that is not finite is never better
            for step, value in curve.items():
                trial.report(value, step)
            return bool(trial.should_prune())
