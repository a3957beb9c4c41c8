"""A/A tests with real training runs: the runs of one arm are split at random into two groups and compared.

The splits share runs, so they are dependent. The mean rejection rate is not affected, but it varies more than that of
the same number of independent studies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from winnow.comparison import CollectedStudy, contrast
from winnow.comparison.contrast_statistics import Contrast, contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores, pivot_scores
from winnow.comparison.metric_scores import build_score_table
from winnow.comparison.non_inferiority import DEFAULT_MARGIN, check_non_inferiority
from winnow.metrics import Metric

ALPHA = 0.05
SIZES = (5, 20)
METRICS = {
    "target": Metric("probe/nike_wide/log_odds"),
    "specificity": Metric("probe/nike_wide/specific_log_odds"),
    "cost": Metric("test/all/loss"),
}
"""The endpoints of the demo."""


def run_a_a_tests(study: CollectedStudy, arm: str, splits: int = 2000) -> dict[str, Any]:
    """Return how often random splits of one arm's runs differ significantly, by group size and endpoint.

    Each group is paired with the other at random for the paired test. Runs of one arm with different seeds are
    independent, so both the paired and the unpaired test are valid.
    """
    scores = {endpoint: _read_scores(study, metric, arm) for endpoint, metric in METRICS.items()}
    seeds = len(scores["target"].scores_a)
    structure = {endpoint: matrix.structure for endpoint, matrix in scores.items()}
    return {
        "runs": seeds,
        "splits": splits,
        "levels": {
            endpoint: {factor.name: factor.levels for factor in items.factors} for endpoint, items in structure.items()
        },
        **{
            f"{size} against {size}, {label}": _count_rejections(scores, size, splits, blocked)
            for size in SIZES
            for label, blocked in (("unpaired", False), ("paired", True))
        },
    }


def _read_scores(study: CollectedStudy, metric: Metric, arm: str) -> CrossedScores:
    """Return the scores of all runs of an arm (twice), with the weights, factors and clusters of the items."""
    table = build_score_table(study, metric, arm)
    return pivot_scores(pd.concat([table, table.assign(arm="copy")], ignore_index=True), arm, "copy")


def _count_rejections(scores: dict[str, CrossedScores], size: int, splits: int, blocked: bool) -> dict[str, float]:
    """Return the fraction of random splits with each result.

    ``target``, ``specificity`` and ``cost`` are two-sided tests of a difference. ``better``, ``specific``,
    ``within_margin`` and ``above_margin`` are the outcomes of the endpoints, and ``green`` requires the first three.
    """
    rng = np.random.default_rng([size, blocked])
    totals = dict.fromkeys((*METRICS, "better", "specific", "within_margin", "above_margin", "green"), 0.0)
    seeds = len(scores["target"].scores_a)
    for _ in range(splits):
        order = rng.permutation(seeds)[: 2 * size]
        results = {
            endpoint: _compare_groups(matrix, order[:size], order[size:], blocked)
            for endpoint, matrix in scores.items()
        }
        cost = check_non_inferiority(results["cost"], DEFAULT_MARGIN, ALPHA / 2)
        outcomes = {endpoint: result.p_value <= ALPHA for endpoint, result in results.items()} | {
            "better": _is_improved(results["target"]),
            "specific": _is_improved(results["specificity"]),
            "within_margin": cost.passed,
            "above_margin": cost.exceeded,
        }
        outcomes["green"] = outcomes["better"] and outcomes["specific"] and outcomes["within_margin"]
        for name, value in outcomes.items():
            totals[name] += value
    return {name: total / splits for name, total in totals.items()}


def _compare_groups(scores: CrossedScores, first: Any, second: Any, blocked: bool) -> Contrast:
    groups = replace(scores, scores_a=scores.scores_a[first], scores_b=scores.scores_a[second], blocked=blocked)
    # The item structure depends on the items only. Building it again for every split would take most of the time.
    groups.__dict__["structure"] = scores.structure
    return contrast_crossed_scores(groups)


def _is_improved(result: Contrast) -> bool:
    return result.p_value <= ALPHA and result.difference > 0


def check(study: CollectedStudy, arm: str) -> None:
    """Raise an error if the comparison of a split and `winnow.comparison.contrast` differ."""
    for metric in METRICS.values():
        table = build_score_table(study, metric, arm)
        seeds = np.sort(table["seed"].unique())
        first, second = np.arange(5), np.arange(5, 10)
        split = table[table["seed"].isin(seeds[:10])]
        split = split.assign(arm=np.where(split["seed"].isin(seeds[:5]), "a", "b"))
        expected = contrast(split, "a", "b")
        result = _compare_groups(_read_scores(study, metric, arm), first, second, blocked=False)
        np.testing.assert_allclose(
            [result.difference, result.std_error, result.p_value],
            [expected.difference, expected.std_error, expected.p_value],
            rtol=1e-9,
        )
