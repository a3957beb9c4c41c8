"""A finding: a contrast between two arms with its role in the protocol and its outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.interim_looks import LookResult
from winnow.metrics.metric_registry import Metric

Outcome = Literal["better", "worse", "no clear difference", "not comparable"]
Adjustment = Literal["Holm", "joint"]
"""How p-values are adjusted: by Holm's method, or by the simulated joint distribution of all contrasts (max-t)."""

Family = Literal["primary", "secondary", "contribution", "descriptive"]


@dataclass(frozen=True)
class Finding:
    """A contrast between two arms on one metric, with its role in the protocol.

    Attributes:
        metric: The name of the metric.
        family: The family of tests. The p-values of the ``primary``, ``secondary`` and ``contribution`` families are
            adjusted separately. Contrasts of the ``descriptive`` family are not tested.
        result: The contrast.
        p_holm: The p-value, adjusted for the family; ``nan`` if the contrast is not tested.
        outcome: The outcome of the test; ``None`` if the contrast is not tested.
        bootstrap: The ends of the bootstrap interval, a sensitivity check.
        permutation_p: The p-value of the permutation test, a sensitivity check.
        equal: Whether the interval lies within the declared margin; ``None`` if no margin applies to this contrast.
        post_hoc: Whether the metric or an arm was not declared before the first run.
        adjustment: How ``p_holm`` is adjusted. The primary family of a study with several filters is adjusted jointly,
            and so is each metric of its secondary family. All other families are adjusted by Holm's method.
        earlier_look: The first interim look with a significant result that the current look does not confirm. If the
            current look is not significant, ``outcome`` is the outcome of that look.
    """

    metric: str
    family: Family
    result: Contrast
    p_holm: float
    outcome: Outcome | None
    bootstrap: tuple[float, float]
    permutation_p: float
    equal: bool | None = None
    post_hoc: bool = False
    adjustment: Adjustment = "Holm"
    earlier_look: LookResult | None = None

    @property
    def adjustment_label(self) -> str:
        """The adjustment in words, such as ``Holm-corrected``."""
        return {"Holm": "Holm-corrected", "joint": "adjusted for all filters"}[self.adjustment]


def decide_outcome(metric: Metric, difference: float, p_value: float, alpha: float) -> Outcome:
    """Return the outcome of one contrast.

    Args:
        metric: The metric. Its direction determines whether a positive difference is better or worse.
        difference: The difference between the arms.
        p_value: The p-value, adjusted if several contrasts are tested.
        alpha: The level of the test.
    """
    if math.isnan(p_value) or metric.direction is None:
        return "not comparable"
    if p_value > alpha or difference == 0:
        return "no clear difference"
    return "better" if difference * metric.sign > 0 else "worse"
