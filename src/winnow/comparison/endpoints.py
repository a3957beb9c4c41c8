"""The three endpoints of a study: target, specificity and cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from winnow.comparison.findings import Outcome
from winnow.comparison.interim_looks import LookResult

SpecificityOutcome = Literal["specific", "not specific", "unclear", "none", "untested"]
"""Whether the effect is larger for the subject than for the comparison subjects (or with the subject masked).

- ``specific``: significantly larger for the subject, in the direction of the target effect.
- ``not specific``: significantly smaller, or the target is significant and the interval lies entirely below half of
  the target effect.
- ``unclear``: all other results of the test.
- ``none``: the primary metric has no subject, so specificity does not apply.
- ``untested``: the contrast cannot be computed.
"""

CostOutcome = Literal["within margin", "worse", "unclear", "untested"]
"""Whether the cost is smaller than the declared margin.

- ``within margin``: significantly below the margin.
- ``worse``: significantly above the margin.
- ``unclear``: all other results of the test.
- ``untested``: no margin was declared, or the contrast cannot be computed.
"""

NO_SPECIFICITY = "none"
"""The value of ``specificity_metric`` in the declaration of a study whose primary metric has no subject."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The result for one endpoint: the difference between the filter and the baseline.

    Attributes:
        metric: The name of the metric; ``None`` if no metric was declared.
        estimate: The estimated difference; ``nan`` if it cannot be computed.
        interval: The ends of the confidence interval.
        p: The p-value of the endpoint's test, adjusted over the filters under test.
        reason: Why the endpoint was not tested; ``None`` if it was tested.
        post_hoc: Whether the metric, an arm or a seed was not declared before the first run.
        assumed_independent: Whether items are assumed to be independent because their structure was not recorded.
        earlier_look: The first interim look with a significant result that the current look does not confirm. If the
            current look is not significant, the verdict is that of the earlier look. All other fields describe the
            current look.
    """

    metric: str | None = None
    estimate: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    p: float = math.nan
    reason: str | None = None
    post_hoc: bool = False
    assumed_independent: bool = False
    earlier_look: LookResult | None = None


@dataclass(frozen=True, kw_only=True)
class TargetEndpoint(Endpoint):
    """The effect of the filter on the primary metric."""

    verdict: Outcome


@dataclass(frozen=True, kw_only=True)
class SpecificityEndpoint(Endpoint):
    """The effect on the subject minus the effect on the comparison subjects.

    Attributes:
        verdict: The outcome.
        subjects: The probe's subjects; empty if they were not recorded.
        comparison: The comparison subjects; empty if the same prompts with the subject masked are used instead.
    """

    verdict: SpecificityOutcome
    subjects: tuple[str, ...] = ()
    comparison: tuple[str, ...] = ()


@dataclass(frozen=True)
class SliceCost:
    """The estimated cost on a slice of the held-out rows, without a test."""

    estimate: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class CostEndpoint(Endpoint):
    """How much worse the guard metric becomes. A positive estimate is a cost for metrics of either direction.

    Attributes:
        verdict: The outcome.
        margin: The smallest cost that is unacceptable, in the metric's unit; ``None`` if none was declared.
        baseline_mean: The guard metric's mean over the seeds of the baseline.
        filter_mean: The guard metric's mean over the seeds of the filter.
        slices: The cost on the rows that the filter keeps (``kept``) and on those that it removes (``removed``).
    """

    verdict: CostOutcome
    margin: float | None = None
    baseline_mean: float = math.nan
    filter_mean: float = math.nan
    slices: Mapping[str, SliceCost] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoints:
    """The three endpoints of a filter under test."""

    target: TargetEndpoint
    specificity: SpecificityEndpoint
    cost: CostEndpoint
