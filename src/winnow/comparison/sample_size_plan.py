"""Plan how many seeds, or how many levels of item factors such as templates, a study needs."""

from __future__ import annotations

from dataclasses import dataclass, field

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.crossed_design import pivot_scores
from winnow.comparison.findings import Finding
from winnow.comparison.metric_scores import build_score_table
from winnow.comparison.power_analysis import levels_needed, seeds_needed, smallest_detectable_difference
from winnow.comparison.variance_components import estimate_crossed_components

TARGET_POWER = 0.8
"""The target power of plans."""


@dataclass(frozen=True)
class SampleSizePlan:
    """The sample sizes needed to detect given differences, and the smallest difference that the study can detect.

    Attributes:
        metric: The name of the metric.
        a: The name of the first arm.
        b: The name of the second arm.
        power: Probability that the planned study detects the difference.
        alpha: Level of the tests.
        smallest_difference: The smallest difference that the current study detects with this power.
        seeds_needed: The number of seeds per arm needed to detect each difference with the items of the current study;
            ``None`` if no number of seeds is enough.
        levels: The number of levels of each item factor.
        levels_needed: The number of levels of each factor needed to detect each difference with the seeds of the
            current study; ``None`` if no number of levels is enough.
    """

    metric: str
    a: str
    b: str
    power: float
    alpha: float
    smallest_difference: float
    seeds_needed: dict[float, int | None]
    levels: dict[str, int] = field(default_factory=dict)
    levels_needed: dict[float, dict[str, int | None]] = field(default_factory=dict)


def plan_sample_size(study: CollectedStudy, finding: Finding, alpha: float) -> SampleSizePlan:
    """Plan sample sizes for the observed difference, half of the observed difference, and the declared margin.

    Args:
        study: The study, as read from the store.
        finding: The contrast of the two arms.
        alpha: The level of the first step of Holm's method.
    """
    result = finding.result
    table = build_score_table(study, study.registry.metric(finding.metric), result.a, result.b)
    components = estimate_crossed_components(pivot_scores(table, result.a, result.b, result.blocked))
    observed_difference, seeds = abs(result.difference), min(result.n_a, result.n_b)
    sizes = sorted(
        {size for size in (study.declaration.equivalence_margin, observed_difference / 2, observed_difference) if size}
    )
    return SampleSizePlan(
        metric=finding.metric,
        a=result.a,
        b=result.b,
        power=TARGET_POWER,
        alpha=alpha,
        smallest_difference=smallest_detectable_difference(components, seeds, TARGET_POWER, alpha),
        seeds_needed={size: seeds_needed(components, size, TARGET_POWER, alpha) for size in sizes},
        levels=components.levels,
        levels_needed={
            size: {
                name: levels_needed(components, size, seeds, name, TARGET_POWER, alpha) for name in components.levels
            }
            for size in sizes
        },
    )
