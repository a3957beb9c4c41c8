"""Estimate the effect of every filter at each level of every factor, its average and the interaction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from winnow.comparison.arm_estimates import estimate_arms
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import Summary, summarize
from winnow.comparison.crossed_design import pivot_arms
from winnow.comparison.factor_effects import FactorEffects, estimate_factor_effects
from winnow.comparison.factor_levels import group_levels
from winnow.comparison.factor_sentences import describe_factor_effects
from winnow.comparison.findings import Outcome, decide_outcome
from winnow.comparison.metric_scores import build_score_table, compute_seed_scores, find_incomparable_reason
from winnow.comparison.selected_levels import LevelSelection, describe_selection
from winnow.comparison.simultaneous_tests import AdjustedEffect
from winnow.comparison.verdict import Verdict
from winnow.formatting import join_names
from winnow.metrics.metric_registry import Metric


@dataclass(frozen=True)
class LevelOutcome:
    """The effect of a filter at one level, with the simultaneous interval over the levels.

    Attributes:
        estimate: The difference between the filter and the baseline at the level.
        ci_low: The lower end of the interval.
        ci_high: The upper end of the interval.
        p_adjusted: The p-value, adjusted over the levels.
        outcome: Whether the filter is better or worse at the level.
    """

    estimate: float
    ci_low: float
    ci_high: float
    p_adjusted: float
    outcome: Outcome


@dataclass(frozen=True)
class FilterByFactor:
    """The effect of one filter on one metric by the levels of one factor.

    Attributes:
        factor: The factor, such as ``optimizer.lr``.
        filter: The filter.
        metric: The name of the metric.
        levels: The effect at each level.
        average: The unweighted mean of the effects over the levels.
        interaction_p: The p-value of the null hypothesis that the effect is the same at all levels.
        interactions: The difference between the effects at two levels, with the simultaneous interval, for each pair.
        sentence: The result in one sentence.
        reason: Why the effects could not be estimated; ``None`` if they could.
    """

    factor: str
    filter: str
    metric: str
    levels: dict[str, LevelOutcome] = field(default_factory=dict)
    average: LevelOutcome | None = None
    interaction_p: float = math.nan
    interactions: list[dict[str, float | str]] = field(default_factory=list)
    sentence: str = ""
    reason: str | None = None


@dataclass(frozen=True)
class FactorAnalysis:
    """The results by factor level.

    Attributes:
        levels: The levels of each factor that have finished runs.
        means: The mean of the primary metric over seeds, by factor, level and arm.
        effects: The effects on the primary metric and on the guard metric, by factor and filter.
        selection: The levels that were selected for each arm; empty if the levels were averaged.
    """

    levels: dict[str, list[str]]
    means: dict[str, dict[str, dict[str, Summary]]]
    effects: list[FilterByFactor]
    selection: dict[str, LevelSelection]

    @property
    def sentences(self) -> list[str]:
        """The results for the primary metric, one sentence per factor and filter."""
        return [effect.sentence for effect in self.effects if effect.sentence]


def qualify_verdict(verdict: Verdict, study: CollectedStudy) -> Verdict:
    """Return the verdict with the levels that it is about, which are added to its sentence."""
    if not study.levels:
        return verdict
    factors = {key: levels for key, levels in study.declaration.factors.items() if len(levels) > 1}
    if study.selected_levels:
        names = join_names(list(factors))
        scope = f"selected: for each arm and seed, the level of {names} with the best validation score"
    else:
        scope = f"averaged over {'; '.join(f'{key} {join_names(levels)}' for key, levels in factors.items())}"
    return dataclasses.replace(verdict, sentence=f"{verdict.sentence.rstrip('.')}; {scope}.")


def analyze_factors(study: CollectedStudy, confidence: float) -> FactorAnalysis | None:
    """Return the results by factor level, or ``None`` if the study has no factors.

    Args:
        study: The study.
        confidence: Joint coverage of the intervals over the levels of a factor, and over the pairs of levels.
    """
    if not study.levels:
        return None
    declaration, metric = study.declaration, study.registry.metric
    primary = metric(declaration.primary_metric)
    metrics = dict.fromkeys([declaration.primary_metric, declaration.guard_metric])
    by_factor = {
        factor: group_levels(study.levels, factor) for factor in _find_shared_factors(list(study.levels.values()))
    }
    by_factor = {factor: levels for factor, levels in by_factor.items() if len(levels) > 1}
    return FactorAnalysis(
        levels={factor: list(levels) for factor, levels in by_factor.items()},
        means={
            factor: {level: _summarize_arms(level_study, primary, confidence) for level, level_study in levels.items()}
            for factor, levels in by_factor.items()
        },
        effects=[
            estimate_effects_by_level(levels, factor, arm, metric(name), confidence)
            for name in metrics
            for factor, levels in by_factor.items()
            for arm in declaration.filters
        ],
        selection=describe_selection(study, confidence),
    )


def _find_shared_factors(levels: Sequence[CollectedStudy]) -> list[str]:
    """Return the factors for which every level has a value, in the order of the first level."""
    return [key for key in levels[0].level_values if all(key in level.level_values for level in levels)]


def _summarize_arms(study: CollectedStudy, metric: Metric, confidence: float) -> dict[str, Summary]:
    scores = {arm: list(compute_seed_scores(study, metric, arm).values()) for arm in study.arms}
    return {arm: summarize(values, confidence) for arm, values in scores.items() if values}


def estimate_effects_by_level(
    levels: Mapping[str, CollectedStudy], factor: str, arm: str, metric: Metric, confidence: float
) -> FilterByFactor:
    """Return the difference between an arm and the baseline at each level, the average and the interaction.

    Args:
        levels: The study at each level.
        factor: The name of the factor.
        arm: The arm.
        metric: The metric. Only effects on the primary metric have a sentence.
        confidence: Joint coverage of the intervals over the levels, and over the pairs of levels.
    """
    first = next(iter(levels.values()))
    declaration, baseline = first.declaration, first.declaration.baseline
    for level, study in levels.items():
        if reason := find_incomparable_reason(study, metric, arm, baseline):
            return FilterByFactor(factor, arm, metric.name, reason=f"{reason} (at {factor}={level})")
    effects = _compute_effects(levels, arm, baseline, metric, confidence)
    outcomes = {level: _to_outcome(metric, effect, 1 - confidence) for level, effect in effects.levels.items()}
    average = _to_outcome(metric, effects.average, 1 - confidence)
    is_primary = metric.name == declaration.primary_metric
    return FilterByFactor(
        factor=factor,
        filter=arm,
        metric=metric.name,
        levels=outcomes,
        average=average,
        interaction_p=effects.interaction_p,
        interactions=[
            {
                "a": a,
                "b": b,
                "estimate": e.estimate,
                "ci_low": e.ci_low,
                "ci_high": e.ci_high,
                "p_adjusted": e.p_adjusted,
            }
            for (a, b), e in effects.interactions.items()
        ],
        sentence=describe_factor_effects(
            factor,
            arm,
            {level: outcome.outcome for level, outcome in outcomes.items()},
            {pair: effect.p_adjusted for pair, effect in effects.interactions.items()},
            effects.interaction_p,
            1 - confidence,
        )
        if is_primary
        else "",
    )


def _compute_effects(
    levels: Mapping[str, CollectedStudy], arm: str, baseline: str, metric: Metric, confidence: float
) -> FactorEffects:
    import pandas as pd

    tables = []
    for level, study in levels.items():
        table = build_score_table(study, metric, arm, baseline)
        tables.append(table.assign(arm=[_name_arm(name, level) for name in table["arm"]]))
    pairs = {level: (_name_arm(arm, level), _name_arm(baseline, level)) for level in levels}
    names = [name for pair in pairs.values() for name in pair]
    blocked = next(iter(levels.values())).declaration.block_by_seed
    estimates = estimate_arms(pivot_arms(pd.concat(tables, ignore_index=True), names, blocked))
    return estimate_factor_effects(estimates, pairs, confidence)


def _name_arm(arm: object, level: str) -> str:
    return f"{arm} at {level}"


def _to_outcome(metric: Metric, effect: AdjustedEffect, alpha: float) -> LevelOutcome:
    return LevelOutcome(
        effect.estimate,
        effect.ci_low,
        effect.ci_high,
        effect.p_adjusted,
        decide_outcome(metric, effect.estimate, effect.p_adjusted, alpha),
    )
