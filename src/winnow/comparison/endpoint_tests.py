"""Test the endpoints of every filter under test. Each endpoint is adjusted over the filters."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_families import NO_SEED_VARIANCE, compute_contrast, is_post_hoc
from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.cost_endpoint import measure_cost
from winnow.comparison.endpoints import (
    NO_SPECIFICITY,
    CostEndpoint,
    Endpoints,
    SpecificityEndpoint,
    SpecificityOutcome,
    TargetEndpoint,
)
from winnow.comparison.findings import Finding, decide_outcome
from winnow.comparison.interim_looks import LookResult
from winnow.comparison.joint_adjustment import adjust_p_values
from winnow.comparison.study_looks import StudyLook
from winnow.metrics.metric_names import probe_metric_name, select_stage
from winnow.metrics.metric_registry import Metric

LEGACY_SPECIFICITY_SCORE = "corrected_log_odds"

_TestedEndpoint = TypeVar("_TestedEndpoint", SpecificityEndpoint, CostEndpoint)


def measure_endpoints(
    study: CollectedStudy, primary: Sequence[Finding], reasons: Mapping[tuple[str, str], str], look: StudyLook
) -> dict[str, Endpoints]:
    """Return the endpoints of every filter under test, by filter. The filter of the main verdict comes first.

    Args:
        study: The study.
        primary: The findings on the primary metric.
        reasons: The reasons why arms cannot be compared on the primary metric, by pair of arms.
        look: The interim look. Two-sided tests use the level ``1 - look.confidence``, and the one-sided test of the
            cost uses half of it. The significant results of earlier looks are kept.
    """
    filters = study.declaration.filters
    targets = {name: _build_target(study, name, primary, reasons) for name in filters}
    specificities = _test_specificity(study, targets, look.confidence)
    costs = measure_cost(study, filters, look.confidence)
    for earlier in look.earlier:
        level = 1 - earlier.confidence
        earlier_specificities = _test_specificity(earlier.study, targets, earlier.confidence)
        earlier_costs = measure_cost(earlier.study, filters, earlier.confidence)
        for name in filters:
            specificities[name] = _keep_earlier_verdict(
                specificities[name], earlier_specificities[name], earlier.seeds, level
            )
            costs[name] = _keep_earlier_verdict(costs[name], earlier_costs[name], earlier.seeds, level / 2)
    return {name: Endpoints(targets[name], specificities[name], costs[name]) for name in filters}


def _keep_earlier_verdict(
    endpoint: _TestedEndpoint, earlier: _TestedEndpoint, seeds: int, level: float
) -> _TestedEndpoint:
    """Return the endpoint with the verdict of an earlier look, if the current look does not confirm it."""
    if earlier.verdict in ("unclear", "none", "untested") or endpoint.earlier_look is not None:
        return endpoint
    if endpoint.verdict in (earlier.verdict, "untested"):
        return endpoint
    result = LookResult(seeds, earlier.verdict, earlier.p, level)
    verdict = earlier.verdict if endpoint.verdict == "unclear" else endpoint.verdict
    return replace(endpoint, verdict=verdict, earlier_look=result)


def build_missing_endpoints(metric: str, reason: str) -> Endpoints:
    """Return the endpoints of a study without a filter under test."""
    return Endpoints(
        TargetEndpoint(metric=metric, verdict="not comparable", reason=reason),
        SpecificityEndpoint(verdict="untested", reason=reason),
        CostEndpoint(verdict="untested", reason=reason),
    )


def _build_target(
    study: CollectedStudy, name: str, primary: Sequence[Finding], reasons: Mapping[tuple[str, str], str]
) -> TargetEndpoint:
    metric, baseline = study.declaration.primary_metric, study.declaration.baseline
    finding = next((f for f in primary if (f.result.a, f.result.b) == (name, baseline)), None)
    if finding is None:
        return TargetEndpoint(
            metric=metric, verdict="not comparable", reason=reasons.get((name, baseline), NO_SEED_VARIANCE)
        )
    outcome = finding.outcome or "not comparable"
    return TargetEndpoint(
        metric=metric,
        estimate=finding.result.difference,
        interval=(finding.result.ci_low, finding.result.ci_high),
        p=finding.p_holm,
        reason=NO_SEED_VARIANCE if outcome == "not comparable" else None,
        post_hoc=finding.post_hoc,
        assumed_independent=finding.result.assumed_independent,
        earlier_look=finding.earlier_look,
        verdict=outcome,
    )


def _test_specificity(
    study: CollectedStudy, targets: Mapping[str, TargetEndpoint], confidence: float
) -> dict[str, SpecificityEndpoint]:
    declaration = study.declaration
    name = declaration.specificity_metric or _infer_specificity_metric(study)
    if name == NO_SPECIFICITY:
        reason = "the primary metric has no subject"
        return {arm: SpecificityEndpoint(verdict="none", reason=reason) for arm in targets}
    metric = study.registry.metric(name)
    contrasts = {arm: compute_contrast(study, metric, arm, declaration.baseline, confidence) for arm in targets}
    p_values, _ = adjust_p_values(
        study,
        metric,
        [(arm, declaration.baseline) for arm in contrasts],
        [c.p_value if isinstance(c, Contrast) else math.nan for c in contrasts.values()],
    )
    build = functools.partial(
        SpecificityEndpoint,
        metric=name,
        subjects=declaration.subjects,
        comparison=declaration.comparison_subjects,
    )
    endpoints = {}
    for (arm, result), p in zip(contrasts.items(), p_values, strict=True):
        if isinstance(result, str) or math.isnan(p):
            endpoints[arm] = build(verdict="untested", reason=result if isinstance(result, str) else NO_SEED_VARIANCE)
            continue
        endpoints[arm] = build(
            estimate=result.difference,
            interval=(result.ci_low, result.ci_high),
            p=p,
            post_hoc=declaration.specificity_metric is None or is_post_hoc(study, result),
            assumed_independent=result.assumed_independent,
            verdict=_decide_specificity(study, metric, targets[arm], result, p, 1 - confidence),
        )
    return endpoints


def _infer_specificity_metric(study: CollectedStudy) -> str:
    """Return the specificity metric for a study of a version before 0.3, which did not declare one."""
    parsed = study.registry.metric(study.declaration.primary_metric).parsed_name
    name = probe_metric_name(parsed.scope, LEGACY_SPECIFICITY_SCORE)
    is_logged = any(name in select_stage("final", cell.metrics) for cell in study.cells)
    return name if parsed.kind == "probe" and is_logged else NO_SPECIFICITY


def _decide_specificity(
    study: CollectedStudy, metric: Metric, target: TargetEndpoint, result: Contrast, p: float, alpha: float
) -> SpecificityOutcome:
    """Return whether the effect is specific.

    The effect must be larger for the subject in the direction of the target effect. If the target effect is not clear,
    the direction in which the metric improves is used.
    """
    is_clear = target.verdict in ("better", "worse")
    sign = -metric.sign if target.verdict == "worse" else metric.sign
    outcome = decide_outcome(metric, sign * metric.sign * result.difference, p, alpha)
    if outcome == "better":
        return "specific"
    largest = max(sign * result.ci_low, sign * result.ci_high)
    has_same_unit = study.registry.metric(study.declaration.primary_metric).unit == metric.unit
    if outcome == "worse" or (is_clear and has_same_unit and largest < abs(target.estimate) / 2):
        return "not specific"
    return "unclear"
