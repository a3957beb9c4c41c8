"""Decide the verdict on every filter under test of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.endpoint_tests import build_missing_endpoints, measure_endpoints
from winnow.comparison.endpoints import Endpoints
from winnow.comparison.findings import Finding
from winnow.comparison.study_looks import StudyLook
from winnow.comparison.verdict import Verdict, decide_verdict
from winnow.comparison.verdict_details import (
    describe_control,
    describe_cost,
    describe_earlier_look,
    describe_specificity,
    describe_target,
    summarize_target,
)

NO_FILTER = "no filter was run"


def decide_verdicts(
    study: CollectedStudy,
    findings: Sequence[Finding],
    reasons: Mapping[tuple[str, str], str],
    look: StudyLook,
    word_frequency_reasons: Mapping[str | None, str | None],
) -> dict[str, tuple[Endpoints, Verdict]]:
    """Return the endpoints and the verdict of each filter under test, by filter.

    If no filter was run, the only key is an empty string.

    Args:
        study: The study.
        findings: All findings on the primary metric.
        reasons: The reasons why arms cannot be compared on the primary metric, by pair of arms.
        look: The interim look.
        word_frequency_reasons: By filter, why the models have learned only word frequencies; ``None`` if they have
            learned more.
    """
    declaration, metric = study.declaration, study.registry.metric
    endpoints = measure_endpoints(study, findings, reasons, look)
    if declaration.filter is None:
        reason = reasons.get(("", declaration.baseline), NO_FILTER)
        endpoints = {"": build_missing_endpoints(declaration.primary_metric, reason)}
    post_hoc = [*declaration.changes, *([look.change] if look.change else [])]
    return {
        arm: (
            filter_endpoints,
            decide_verdict(
                filter_endpoints,
                metric,
                _describe_endpoints(study, arm, filter_endpoints, findings, reasons, look.confidence),
                _summarize_target(study, arm, filter_endpoints, findings, look.confidence),
                post_hoc,
                look.confidence,
                word_frequency_reasons.get(arm or None),
            ),
        )
        for arm, filter_endpoints in endpoints.items()
    }


def _describe_endpoints(
    study: CollectedStudy,
    arm: str,
    endpoints: Endpoints,
    findings: Sequence[Finding],
    reasons: Mapping[tuple[str, str], str],
    confidence: float,
) -> list[str]:
    """Return one text with numbers for each endpoint, and one for the random control."""
    declaration, metric = study.declaration, study.registry.metric
    specificity, cost = endpoints.specificity, endpoints.cost
    verdicts = (endpoints.target.verdict, specificity.verdict, cost.verdict)
    effect = _find_finding(findings, arm, declaration.baseline)
    if effect is not None and endpoints.target.reason is None:
        target = describe_target(metric(declaration.primary_metric), effect, confidence, declaration.equivalence_margin)
    else:
        name = arm or "The filter"
        target = f"{name} cannot be compared with {declaration.baseline}: {endpoints.target.reason}."
    sentences = [
        target,
        describe_specificity(specificity, metric(specificity.metric) if specificity.metric else None, confidence),
        describe_cost(cost, metric(declaration.guard_metric), confidence),
    ]
    sentences = [
        sentence + describe_earlier_look(endpoint, verdict)
        for sentence, endpoint, verdict in zip(sentences, (endpoints.target, specificity, cost), verdicts, strict=True)
    ]
    # A control that is also the baseline does not show whether it matters which rows are kept.
    control = declaration.get_control(arm or None) or ""
    size_effect = _find_finding(findings, control, declaration.baseline)
    control_text = describe_control(
        effect,
        _find_tested_finding(findings, arm, control),
        size_effect.result if size_effect else None,
        declaration.baseline,
        reasons.get((arm, control), "no random control was run"),
    )
    return [*sentences, control_text]


def _summarize_target(
    study: CollectedStudy, arm: str, endpoints: Endpoints, findings: Sequence[Finding], confidence: float
) -> str:
    declaration = study.declaration
    finding = _find_finding(findings, arm, declaration.baseline)
    if finding is None or endpoints.target.reason is not None:
        return str(endpoints.target.reason)
    metric = study.registry.metric(declaration.primary_metric)
    return summarize_target(metric, finding, confidence, declaration.equivalence_margin)


def _find_finding(findings: Sequence[Finding], a: str, b: str) -> Finding | None:
    return next((finding for finding in findings if (finding.result.a, finding.result.b) == (a, b)), None)


def _find_tested_finding(findings: Sequence[Finding], a: str, b: str) -> Finding | None:
    finding = _find_finding(findings, a, b)
    return finding if finding is not None and finding.outcome not in (None, "not comparable") else None
