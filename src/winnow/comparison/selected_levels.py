"""Select the level of each factor on validation scores, separately for each arm and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import summarize
from winnow.comparison.factor_levels import average_levels, select_levels
from winnow.comparison.level_selection import expect_best, select_level_per_seed
from winnow.comparison.metric_scores import compute_seed_scores
from winnow.metrics.metric_catalog import SPECIFIC_PREFIX
from winnow.metrics.metric_names import held_out_metric_name
from winnow.metrics.metric_registry import Metric


@dataclass(frozen=True)
class LevelSelection:
    """The levels that were selected for an arm.

    Attributes:
        counts: The number of seeds for which each level was selected.
        expected_best: The expected score of the best of 1, 2, ... runs, selected on validation scores.
        expected_best_low: The lower ends of the intervals over seeds; empty if there are fewer than 2 seeds.
        expected_best_high: The upper ends of the intervals.
    """

    counts: dict[str, int]
    expected_best: list[float]
    expected_best_low: list[float] = field(default_factory=list)
    expected_best_high: list[float] = field(default_factory=list)


def combine_levels(levels: Mapping[str, CollectedStudy]) -> CollectedStudy:
    """Return the study at the selected levels if the declaration requires a selection, otherwise the average study.

    For each arm and seed, the run with the best validation score is selected. A seed is then a complete search, so the
    contrasts of the selected runs are valid. If a run has no validation score, the levels are averaged.
    """
    study = next(iter(levels.values()))
    if study.declaration.select != "validation":
        return average_levels(levels)
    metric = study.registry.metric(study.declaration.primary_metric)
    chosen: dict[tuple[str, int], str] = {}
    for arm in sorted({cell.arm for level_study in levels.values() for cell in level_study.cells}):
        scores = {name: compute_validation_scores(level_study, metric, arm) for name, level_study in levels.items()}
        seeds = sorted(set.intersection(*map(set, scores.values())))
        if seeds:
            matrix = np.array([[by_seed[seed] for seed in seeds] for by_seed in scores.values()])
            names = list(scores)
            selected = select_level_per_seed(matrix, metric.direction != "lower")
            chosen |= {(arm, seed): names[index] for seed, index in zip(seeds, selected, strict=True)}
    return select_levels(levels, chosen) if chosen else average_levels(levels)


def compute_validation_scores(study: CollectedStudy, metric: Metric, arm: str) -> dict[int, float]:
    """Return the score of each seed of an arm on the validation prompts or rows; seeds without a score are omitted.

    The validation score of a specific metric, such as ``specific_log_odds``, is the score without the comparison
    subjects, because only test prompts are scored with other subjects.
    """
    parsed = metric.parsed_name
    if parsed.kind == "held_out":
        name = held_out_metric_name("validation", parsed.scope, parsed.score)
        return compute_seed_scores(study, study.registry.metric(name), arm)
    prompts, column = study.prompts, parsed.score.removeprefix(SPECIFIC_PREFIX)
    if prompts.empty or "split" not in prompts or column not in prompts:
        return {}
    is_validation = prompts["split"].isin(["validation", "both"]) & ~prompts["role"].isin(["comparison"])
    is_selected = is_validation & (prompts["stage"] == "after") & (prompts["probe"] == parsed.scope)
    means = prompts[is_selected & (prompts["arm"] == arm)].groupby("seed")[column].mean()
    scores = dict(zip(means.index.tolist(), means.tolist(), strict=True))
    return {seed: mean for seed, mean in scores.items() if math.isfinite(mean)}


def describe_selection(study: CollectedStudy, confidence: float) -> dict[str, LevelSelection]:
    """Return the selected levels of each arm; empty if no level was selected.

    Args:
        study: The study.
        confidence: Coverage of the intervals of the expected scores.
    """
    if not study.selected_levels:
        return {}
    metric = study.registry.metric(study.declaration.primary_metric)
    selections = {}
    for arm in study.arms:
        curves = _expect_best(list(study.levels.values()), metric, arm)
        summaries = [summarize(scores, confidence) for scores in zip(*curves, strict=True)]
        has_intervals = len(curves) > 1
        selections[arm] = LevelSelection(
            counts={name: count for name in study.levels if (count := _count(study, arm, name))},
            expected_best=[summary.mean for summary in summaries],
            expected_best_low=[summary.ci_low for summary in summaries if has_intervals],
            expected_best_high=[summary.ci_high for summary in summaries if has_intervals],
        )
    return selections


def _count(study: CollectedStudy, arm: str, level: str) -> int:
    return sum(name == level for (other, _), name in study.selected_levels.items() if other == arm)


def _expect_best(levels: Sequence[CollectedStudy], metric: Metric, arm: str) -> list[list[float]]:
    """Return the expected test score of the best of n runs, for every n up to the number of levels.

    The first dimension numbers the seeds, each of which is one search over the levels.
    """
    validation = [compute_validation_scores(study, metric, arm) for study in levels]
    test = [compute_seed_scores(study, metric, arm) for study in levels]
    seeds = sorted(set.intersection(*map(set, [*validation, *test])))
    curves = [
        expect_best([s[seed] for s in validation], [s[seed] for s in test], metric.direction != "lower").tolist()
        for seed in seeds
    ]
    return [curve for curve in curves if len(curve) == len(levels)]
