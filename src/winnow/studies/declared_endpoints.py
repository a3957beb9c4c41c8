"""Declare the specificity and cost endpoints and the interim looks of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from winnow.comparison.endpoints import NO_SPECIFICITY
from winnow.comparison.interim_looks import InterimLooks
from winnow.config.schema import StudyConfig
from winnow.errors import WinnowError
from winnow.metrics.metric_catalog import SPECIFIC_PREFIX, find_definition
from winnow.metrics.metric_names import PROBE_GROUP, parse_metric_name, probe_metric_name
from winnow.run.run_components import RunComponents
from winnow.studies.study_cell import StudyCell

CORRECTED_SCORE = "corrected_log_odds"


def declare_endpoints(study: StudyConfig, components: RunComponents) -> dict[str, Any]:
    """Return the declaration's entries for the specificity endpoint, the cost endpoint and the interim looks."""
    metric = find_specificity_metric(study, components)
    parsed = parse_metric_name(metric)
    probe = components.probes.get(parsed.scope) if parsed.kind == PROBE_GROUP else None
    return {
        "specificity_metric": metric,
        "subjects": list(probe.subjects) if probe else [],
        "comparison_subjects": list(probe.comparison) if probe and parsed.score.startswith(SPECIFIC_PREFIX) else [],
        "guard_metric": study.guard_metric,
        "cost_margin": study.cost_margin,
        "looks": list(study.looks),
    }


def find_specificity_metric(study: StudyConfig, components: RunComponents) -> str:
    """Return the metric of the specificity endpoint, or ``none`` if the primary metric has no subject.

    By default, the metric is the specific score of the primary metric if the probe has comparison subjects. If the
    probe has only subjects, the metric is the corrected log odds, which subtract the log odds with a masked subject.
    """
    if study.specificity_metric is not None:
        return study.specificity_metric
    parsed = parse_metric_name(study.primary_metric)
    if parsed.kind != PROBE_GROUP or parsed.scope not in components.probes:
        return NO_SPECIFICITY
    if f"{SPECIFIC_PREFIX}{parsed.score}" in list_specific_scores(components, parsed.scope):
        return probe_metric_name(parsed.scope, f"{SPECIFIC_PREFIX}{parsed.score}")
    return (
        probe_metric_name(parsed.scope, CORRECTED_SCORE)
        if CORRECTED_SCORE in components.probes[parsed.scope].score_names()
        else NO_SPECIFICITY
    )


def list_specific_scores(components: RunComponents, probe_name: str) -> list[str]:
    """Return the names of the specific scores of a probe; see :data:`winnow.metrics.metric_catalog.SPECIFIC_PREFIX`."""
    probe = components.probes[probe_name]
    if not probe.comparison:
        return []
    names = [f"{SPECIFIC_PREFIX}{score}" for score in probe.score_names()]
    return [name for name in names if find_definition(probe_metric_name(probe_name, name)) is not None]


def check_looks(cells: Sequence[StudyCell]) -> list[WinnowError]:
    """Return an error if the interim looks are invalid, or if the sweep has more seeds than the last look."""
    looks = cells[0].config.study.looks
    if not looks:
        return []
    try:
        InterimLooks(tuple(looks))
    except WinnowError as error:
        return [error.with_prefix("study")]
    seeds = len({cell.config.seed for cell in cells})
    if seeds > looks[-1]:
        message = f"expected at least {seeds} as the last look (the number of seeds in the sweep), got {looks[-1]}."
        return [WinnowError(f"{message} Add a look, or remove seeds.", "study.looks")]
    return []
