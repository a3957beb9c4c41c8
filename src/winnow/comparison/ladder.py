"""Compare the effect of filters across model sizes and budgets, against the training compute.

A ladder is a study whose factors are model sizes or training budgets. Each level of the study is a rung.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.factor_analysis import FilterByFactor, estimate_effects_by_level
from winnow.comparison.metric_scores import compute_seed_scores
from winnow.formatting import format_p_value, join_names
from winnow.metrics.metric_names import TRAINING_FLOPS, stage_metric_name
from winnow.metrics.metric_registry import Metric

BUDGET_KEYS: Final = ("training.max_steps", "training.max_passes", "training.total_tokens")

MIN_COMPUTE_RATIO: Final = 1.5
"""The smallest ratio of the largest to the smallest compute of a ladder."""


@dataclass(frozen=True)
class Rung:
    """One level of a ladder.

    Attributes:
        level: The model size and budget, such as ``model=scratch_small``.
        flops: The training compute of a run in floating-point operations, averaged over the runs.
        seconds: The wall time of a run, averaged over the runs.
        agreeing_pairs: The number of pairs of arms that this rung orders like the largest rung.
        pairs: The number of pairs of arms with runs at both rungs.
    """

    level: str
    flops: float
    seconds: float
    agreeing_pairs: int
    pairs: int

    @property
    def decision_accuracy(self) -> float:
        """The fraction of pairs of arms that this rung orders like the largest rung; ``nan`` if there are no pairs."""
        return self.agreeing_pairs / self.pairs if self.pairs else math.nan


@dataclass(frozen=True)
class Ladder:
    """The effects of filters on the primary metric by training compute.

    Attributes:
        rungs: The rungs, in ascending order of their compute.
        effects: The difference between each filter and the baseline at each rung, with simultaneous intervals.
        controls: The same for the random control of each filter that has one, by filter.
        decision_accuracy: The decision accuracy of each rung except the largest, by level.
        sentences: What the ladder shows about larger models, and the decision accuracy.
    """

    rungs: list[Rung]
    effects: list[FilterByFactor]
    controls: dict[str, FilterByFactor]
    decision_accuracy: dict[str, float]
    sentences: list[str]


def analyze_ladder(study: CollectedStudy, confidence: float) -> Ladder | None:
    """Return the effects by compute, or ``None`` if the study is not a ladder.

    Args:
        study: The study.
        confidence: Joint coverage of the intervals of a filter over the rungs.
    """
    keys = [key for key, levels in study.declaration.factors.items() if len(levels) > 1]
    if len(study.levels) < 2 or not all(key.split(".")[0] == "model" or key in BUDGET_KEYS for key in keys):
        return None
    metric = study.registry.metric(study.declaration.primary_metric)
    flops = {level: _average(level_study, TRAINING_FLOPS) for level, level_study in study.levels.items()}
    if not all(value > 0 for value in flops.values()) or max(flops.values()) < MIN_COMPUTE_RATIO * min(flops.values()):
        return None
    levels = dict(sorted(study.levels.items(), key=lambda item: flops[item[0]]))
    largest = list(levels.values())[-1]
    rungs = [
        Rung(level, flops[level], _average(level_study, "seconds"), *count_agreeing_pairs(level_study, largest, metric))
        for level, level_study in levels.items()
    ]
    filters = study.declaration.filters
    controls = {arm: control for arm in filters if (control := study.declaration.get_control(arm))}
    effects = [estimate_effects_by_level(levels, "compute", arm, metric, confidence) for arm in filters]
    return Ladder(
        rungs=rungs,
        effects=effects,
        controls={
            arm: estimate_effects_by_level(levels, "compute", control, metric, confidence)
            for arm, control in controls.items()
        },
        decision_accuracy={rung.level: rung.decision_accuracy for rung in rungs[:-1]},
        sentences=[
            *(describe_extrapolation(effect, rungs, 1 - confidence) for effect in effects),
            _describe_decisions(rungs),
        ],
    )


def count_agreeing_pairs(study: CollectedStudy, largest: CollectedStudy, metric: Metric) -> tuple[int, int]:
    """Return the number of pairs of arms that two studies order in the same way, and the number of pairs.

    The fraction is the decision accuracy of Magnusson et al. (2025, DataDecide, arXiv 2504.11393). An arm's score is
    the mean over its seeds.
    """
    means = [_compute_means(level, metric) for level in (study, largest)]
    arms = [arm for arm in study.arms if all(arm in scores for scores in means)]
    pairs = list(combinations(arms, 2))
    agreeing = sum((means[0][a] - means[0][b]) * (means[1][a] - means[1][b]) > 0 for a, b in pairs)
    return agreeing, len(pairs)


def describe_extrapolation(effect: FilterByFactor, rungs: Sequence[Rung], alpha: float) -> str:
    """Return one sentence about larger models. Nothing is stated about them if the rungs disagree or are not clear."""
    name = f"the effect of {effect.filter}"
    if effect.reason is not None:
        return f"No statement about larger models: {name} cannot be estimated at every rung ({effect.reason})."
    outcomes = {rung.level: effect.levels[rung.level] for rung in rungs}
    if len({outcome.estimate > 0 for outcome in outcomes.values()}) > 1:
        return f"No statement about larger models: {name} does not have the same sign at all rungs."
    if math.isnan(effect.interaction_p):
        return f"No statement about larger models: whether {name} differs between the rungs cannot be tested."
    test = f"interaction {format_p_value(effect.interaction_p)}"
    if effect.interaction_p <= alpha:
        return f"No statement about larger models: {name} differs between the rungs ({test})."
    unclear = [level for level, outcome in outcomes.items() if outcome.outcome not in ("better", "worse")]
    if unclear:
        return f"No statement about larger models: {name} is not clear at {join_names(unclear)} ({test})."
    compute = f"{format_flops(rungs[0].flops).removesuffix(' FLOPs')} to {format_flops(rungs[-1].flops)}"
    return (
        f"{effect.filter} is {outcomes[rungs[0].level].outcome} than the baseline at all {len(rungs)} rungs, from "
        f"{compute} of training compute, and no difference between the rungs was detected ({test}). The direction may "
        "be the same for slightly larger models, but none was tested."
    )


def format_flops(flops: float) -> str:
    """Return a number of operations as text.

    >>> format_flops(1.234e12)
    '1.2e12 FLOPs'
    """
    mantissa, exponent = f"{flops:.1e}".split("e")
    return f"{mantissa}e{int(exponent)} FLOPs"


def _describe_decisions(rungs: Sequence[Rung]) -> str:
    counts = [f"{rung.agreeing_pairs} of {rung.pairs} at {rung.level}" for rung in rungs[:-1]]
    return f"Pairs of arms that are ordered as at {rungs[-1].level} (decision accuracy): {join_names(counts)}."


def _compute_means(study: CollectedStudy, metric: Metric) -> dict[str, float]:
    scores = {arm: list(compute_seed_scores(study, metric, arm).values()) for arm in study.arms}
    return {arm: sum(values) / len(values) for arm, values in scores.items() if values}


def _average(study: CollectedStudy, metric: str) -> float:
    """Return the mean of a final metric over all runs; ``nan`` if a run did not log it."""
    values = [cell.metrics.get(stage_metric_name("final", metric), math.nan) for cell in study.cells]
    return sum(values) / len(values) if values else math.nan
