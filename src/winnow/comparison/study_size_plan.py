"""Plan a study from the runs of a pilot: seeds, templates, rows, time, and the cost with interim looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.crossed_design import Array, pivot_scores
from winnow.comparison.early_stopping import EarlyStopping, simulate_early_stopping
from winnow.comparison.metric_scores import build_score_table, compute_seed_scores, find_incomparable_reason
from winnow.comparison.non_inferiority import DEFAULT_ALPHA
from winnow.comparison.pilot_plan import MIN_SEEDS, PilotPlan, PilotPlanner
from winnow.errors import WinnowError
from winnow.metrics.metric_registry import Metric


@dataclass(frozen=True)
class PlanOptions:
    """The requirements of a planned study.

    Attributes:
        difference: The true difference in the primary metric to detect; ``None`` uses the declared equivalence margin
            or, if there is none, the difference that the pilot observed.
        target_power: The probability with which the study detects the difference.
        max_seeds: The largest number of seeds per arm to consider.
        looks: Seeds per arm at each interim look; an empty list uses the declared looks.
        parallel_cells: The number of cells that run at the same time.
    """

    difference: float | None = None
    target_power: float = 0.8
    max_seeds: int = 50
    looks: Sequence[int] = ()
    parallel_cells: int = 1


@dataclass(frozen=True)
class EndpointPlan:
    """The plan for one endpoint.

    Attributes:
        endpoint: ``target`` or ``cost``.
        metric: The name of the metric.
        plan: The size of the study.
        source: Where the difference to detect comes from.
    """

    endpoint: str
    metric: str
    plan: PilotPlan
    source: str


@dataclass(frozen=True)
class StudySizePlan:
    """The plan of a study.

    Attributes:
        study: The name of the pilot.
        filter: The arm of the filter under test.
        baseline: The baseline arm.
        seconds: The wall time that each arm needs per seed, in seconds, summed over the levels of all factors.
        parallel_cells: The number of cells that run at the same time.
        endpoints: The plan for every endpoint.
        looks: The expected cost with interim looks; ``None`` if there are no looks.
        notes: Notes for the reader.
    """

    study: str
    filter: str
    baseline: str
    seconds: dict[str, float]
    parallel_cells: int
    endpoints: Sequence[EndpointPlan]
    looks: EarlyStopping | None
    notes: Sequence[str]

    def compute_hours(self, seeds: float) -> float:
        """Return the wall time of a study in hours, for the arms of the pilot and a number of seeds per arm."""
        return seeds * sum(self.seconds.values()) / self.parallel_cells / 3600

    @property
    def seeds(self) -> int | None:
        """The number of seeds per arm that suffices for all endpoints; ``None`` if an endpoint has no plan."""
        counts = [entry.plan.recommended.seeds if entry.plan.recommended else None for entry in self.endpoints]
        return None if None in counts else max(count for count in counts if count is not None)


def plan_study_size(study: CollectedStudy, options: PlanOptions) -> StudySizePlan:
    """Plan a study with the arms of a pilot.

    Raises:
        WinnowError: If the pilot has no filter under test, fewer than 2 seeds per arm, or arms that are not comparable
            (key ``study``), or if the looks are invalid (key ``looks``).
    """
    declaration = study.declaration
    if declaration.filter is None:
        raise WinnowError(
            f"{study.name} has no filter under test. Choose a pilot with a filter and a baseline.", "study"
        )
    tested_contrasts = len(declaration.filters) + (declaration.control not in (None, declaration.baseline))
    primary = study.registry.metric(declaration.primary_metric)
    alpha = 0.05 / tested_contrasts
    target, source, planner = _plan_target(study, primary, options, alpha)
    endpoints = [EndpointPlan("target", primary.name, target, source)]
    guard = study.registry.metric(declaration.guard_metric)
    if declaration.cost_margin is not None and _find_reason(study, guard) is None:
        cost_planner = _build_planner(study, guard, declaration.cost_margin, options, 2 * DEFAULT_ALPHA)
        plan = cost_planner.plan(options.max_seeds)
        endpoints.append(EndpointPlan("cost", guard.name, plan, "the declared margin"))
    looks = tuple(options.looks or declaration.looks)
    arms = [arm for arm in declaration.arms if study.get_cells(arm)]
    return StudySizePlan(
        study=study.name,
        filter=declaration.filter,
        baseline=declaration.baseline,
        seconds={arm: _compute_seconds_per_seed(study, arm) for arm in arms},
        parallel_cells=options.parallel_cells,
        endpoints=endpoints,
        looks=simulate_early_stopping(planner.draws, target.difference, looks, alpha) if looks else None,
        notes=_list_notes(endpoints, tested_contrasts),
    )


def _plan_target(
    study: CollectedStudy, primary: Metric, options: PlanOptions, alpha: float
) -> tuple[PilotPlan, str, PilotPlanner]:
    """Return the plan of the target endpoint, where the difference comes from, and the planner."""
    if reason := _find_reason(study, primary):
        raise WinnowError(f"{study.name} cannot serve as a pilot: {reason}. Run at least 2 seeds per arm.", "study")
    declaration = study.declaration
    difference, source = options.difference, "requested"
    if difference is None and declaration.equivalence_margin is not None:
        difference, source = declaration.equivalence_margin, "the declared equivalence margin"
    if difference is None:
        means = [
            float(np.mean(list(compute_seed_scores(study, primary, str(arm)).values())))
            for arm in (declaration.filter, declaration.baseline)
        ]
        difference, source = abs(means[0] - means[1]), "observed in the pilot"
    if not difference:
        raise WinnowError("expected a difference other than 0. Set the smallest difference of interest.", "difference")
    planner = _build_planner(study, primary, difference, options, alpha)
    return planner.plan(options.max_seeds), source, planner


def _compute_seconds_per_seed(study: CollectedStudy, arm: str) -> float:
    cells = study.get_cells(arm)
    return sum(cell.seconds for cell in cells) / len({cell.seed for cell in cells})


def _find_reason(study: CollectedStudy, metric: Metric) -> str | None:
    declaration = study.declaration
    return find_incomparable_reason(study, metric, str(declaration.filter), declaration.baseline)


def _build_planner(
    study: CollectedStudy, metric: Metric, difference: float, options: PlanOptions, alpha: float
) -> PilotPlanner:
    declaration = study.declaration
    filter_arm, blocked = str(declaration.filter), declaration.block_by_seed
    table = build_score_table(study, metric, filter_arm, declaration.baseline)
    crossed = pivot_scores(table, filter_arm, declaration.baseline, blocked)
    return PilotPlanner(crossed, _collect_seed_means(study, metric), difference, options.target_power, alpha)


def _collect_seed_means(study: CollectedStudy, metric: Metric) -> Array | None:
    """Return the mean scores of all comparable arms, of shape (arms, seeds), for the seeds that the arms share."""
    declaration = study.declaration
    required = [str(declaration.filter), declaration.baseline]
    arms = [
        arm
        for arm in study.arms
        if arm not in required and find_incomparable_reason(study, metric, arm, declaration.baseline) is None
    ]
    scores = [compute_seed_scores(study, metric, arm) for arm in (*required, *arms)]
    needed = set(scores[0]) & set(scores[1])
    complete = [arm_scores for arm_scores in scores if needed <= arm_scores.keys()]
    return np.array([[arm_scores[seed] for seed in sorted(needed)] for arm_scores in complete])


def _list_notes(endpoints: Sequence[EndpointPlan], tested_contrasts: int) -> list[str]:
    target = endpoints[0].plan
    notes = []
    if tested_contrasts > 1:
        notes.append(
            f"The level is 0.05 / {tested_contrasts}, the first step of Holm's method for the primary contrasts."
        )
    if endpoints[0].source == "observed in the pilot":
        notes.append(
            "The difference was observed in the pilot and is therefore uncertain. Set difference=SIZE to the smallest "
            "difference of interest."
        )
    if target.pilot_seeds < MIN_SEEDS:
        notes.append(
            f"The pilot has {target.pilot_seeds} seeds per arm, so the seed variance is uncertain. A pilot with "
            f"{MIN_SEEDS} seeds usually needs far fewer seeds in total."
        )
    notes += [
        f"No study within the limits reliably reaches the target power in {entry.metric}. Add seeds to the pilot, plan "
        "for a larger difference, or increase max_seeds."
        for entry in endpoints
        if entry.plan.recommended is None
    ]
    return notes
