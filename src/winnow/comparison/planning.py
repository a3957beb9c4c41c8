"""What it takes to find differences of some sizes: seeds, or levels of the items' factors such as templates."""

from __future__ import annotations

from dataclasses import dataclass, field

from winnow.comparison.collected_study import Study
from winnow.comparison.crossed_design import cross
from winnow.comparison.metric_scores import scores
from winnow.comparison.power_analysis import levels_needed, seeds_needed, smallest_difference
from winnow.comparison.variance_components import crossed_components
from winnow.comparison.verdict import Finding

CHANCE = 0.8
"""Power of the plans."""


@dataclass(frozen=True)
class Plan:
    """What it takes to find differences of some sizes between two arms, and what the present seeds can find.

    Attributes:
        metric: The metric.
        a: One arm.
        b: The other arm.
        chance: Power of the plans.
        alpha: Level of the tests.
        findable: The smallest difference that the study finds as it is.
        seeds: For each size the seeds per arm; ``None`` if no number is enough with these prompts or rows.
        levels: For each factor of the items its number of levels.
        needed: For each size and factor the levels that are enough with the present seeds; ``None`` if no number is.
    """

    metric: str
    a: str
    b: str
    chance: float
    alpha: float
    findable: float
    seeds: dict[float, int | None]
    levels: dict[str, int] = field(default_factory=dict)
    needed: dict[float, dict[str, int | None]] = field(default_factory=dict)


def plan(study: Study, finding: Finding, alpha: float) -> Plan:
    """Plan for the observed difference, half of it, and the declared margin, at the level of Holm's first step."""
    result = finding.result
    table = scores(study, study.registry.metric(finding.metric), result.a, result.b)
    found = crossed_components(cross(table, result.a, result.b, result.blocked))
    seen, present = abs(result.difference), min(result.n_a, result.n_b)
    sizes = sorted({size for size in (study.declaration.equivalence_margin, seen / 2, seen) if size})
    return Plan(
        metric=finding.metric,
        a=result.a,
        b=result.b,
        chance=CHANCE,
        alpha=alpha,
        findable=smallest_difference(found, present, CHANCE, alpha),
        seeds={size: seeds_needed(found, size, CHANCE, alpha) for size in sizes},
        levels=found.levels,
        needed={
            size: {name: levels_needed(found, size, present, name, CHANCE, alpha) for name in found.levels}
            for size in sizes
        },
    )
