"""Test families of contrasts. The p-values are adjusted within each family."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_statistics import Contrast, contrast, contrast_crossed_scores, holm
from winnow.comparison.crossed_design import pivot_scores
from winnow.comparison.findings import Adjustment, Family, Finding, decide_outcome
from winnow.comparison.interim_looks import LookResult
from winnow.comparison.joint_adjustment import MIN_FILTERS, adjust_by_metric
from winnow.comparison.metric_scores import build_score_table, find_incomparable_reason
from winnow.comparison.resampling import bootstrap_crossed_scores, permute_crossed_scores
from winnow.comparison.study_looks import EarlierLook
from winnow.metrics.metric_registry import Metric

NO_SEED_VARIANCE = "the scores do not vary between seeds, so the variance cannot be estimated"
"""The reason why a contrast is not tested although its difference can be computed."""

ContrastSpec = tuple[Metric, str | None, str]
"""A metric and the two arms to compare, a and b. Arm a is ``None`` if no filter was run."""


class FamilyTester:
    """Tests families of contrasts and collects the contrasts that cannot be computed.

    Args:
        study: The study.
        confidence: Coverage of the intervals. The tests use the level ``1 - confidence``.
        earlier_looks: The earlier interim looks. A significant result of one of them is kept if the current result is
            not significant.
        sensitivity_checks: Whether to compute the bootstrap interval and the permutation test.

    Attributes:
        not_comparable: The ``metric``, ``a``, ``b`` and ``reason`` of each contrast that could not be computed.
    """

    def __init__(
        self,
        study: CollectedStudy,
        confidence: float,
        earlier_looks: Sequence[EarlierLook] = (),
        sensitivity_checks: bool = True,
    ) -> None:
        self._study = study
        self._confidence = confidence
        self._alpha = 1 - confidence
        self._earlier_looks = earlier_looks
        self._has_sensitivity_checks = sensitivity_checks
        self.not_comparable: list[dict[str, str]] = []

    def test(self, family: Family, pairs: Sequence[ContrastSpec]) -> list[Finding]:
        """Compute the contrasts of a family and adjust their p-values jointly.

        The adjustment counts every declared test, including those that cannot be computed. The family ``primary`` is
        adjusted by :func:`winnow.comparison.joint_adjustment.adjust_by_metric`, and so is the family ``secondary`` if
        several filters are tested. All others are adjusted by Holm's method.
        Contrasts of the family ``descriptive`` have no adjusted p-value and no outcome.
        """
        comparable: list[tuple[Metric, str, str]] = []
        for metric, a, b in pairs:
            reason = self._find_reason(family, metric, a, b)
            if a is None or reason is not None:
                self.not_comparable.append({"metric": metric.name, "a": a or "", "b": b, "reason": str(reason)})
            else:
                comparable.append((metric, a, b))
        findings = [self._compute_finding(family, metric, a, b) for metric, a, b in comparable]
        if family == "descriptive":
            return findings
        adjusted = self._adjust(family, pairs, findings)
        findings = [
            replace(
                finding,
                p_holm=p,
                outcome=decide_outcome(metric, finding.result.difference, p, self._alpha),
                adjustment=adjustment,
            )
            for (metric, _, _), finding, (p, adjustment) in zip(comparable, findings, adjusted, strict=True)
        ]
        for look in self._earlier_looks:
            tester = FamilyTester(look.study, look.confidence, sensitivity_checks=False)
            results = {_identify(finding): finding for finding in tester.test(family, pairs)}
            findings = [_keep_earlier_outcome(finding, results.get(_identify(finding)), look) for finding in findings]
        return findings

    def _adjust(
        self, family: Family, pairs: Sequence[ContrastSpec], findings: Sequence[Finding]
    ) -> list[tuple[float, Adjustment]]:
        """Return the adjusted p-value of each finding and the method."""
        has_several_filters = len(self._study.declaration.filters) >= MIN_FILTERS
        if family == "primary" or (family == "secondary" and has_several_filters):
            p_values = {_identify(finding): finding.result.p_value for finding in findings}
            adjusted = adjust_by_metric(self._study, pairs, p_values)
            return [adjusted[_identify(finding)] for finding in findings]
        missing = [math.nan] * (len(pairs) - len(findings))
        by_holm = holm([finding.result.p_value for finding in findings] + missing)
        return [(p, "Holm") for p in by_holm[: len(findings)]]

    def _find_reason(self, family: Family, metric: Metric, a: str | None, b: str) -> str | None:
        """Return why a contrast cannot be computed or tested, or ``None`` if it can."""
        if metric.direction is None and family != "descriptive":
            return _describe_missing_direction(metric)
        return find_incomparable_reason(self._study, metric, a, b) if a else "no filter was run"

    def _compute_finding(self, family: Family, metric: Metric, a: str, b: str) -> Finding:
        """Compute a contrast and its sensitivity checks. The adjusted p-value and the outcome are not set yet."""
        declaration, confidence, checks = self._study.declaration, self._confidence, self._has_sensitivity_checks
        blocked, margin = declaration.block_by_seed, declaration.equivalence_margin
        crossed = pivot_scores(build_score_table(self._study, metric, a, b), a, b, blocked)
        result = contrast_crossed_scores(crossed, confidence)
        is_declared = metric.name in (declaration.primary_metric, *declaration.secondary_metrics)
        is_tested = family == "primary" and not math.isnan(result.ci_low)
        return Finding(
            metric=metric.name,
            family=family,
            result=result,
            p_holm=math.nan,
            outcome=None,
            bootstrap=bootstrap_crossed_scores(crossed, confidence) if checks else (math.nan, math.nan),
            permutation_p=permute_crossed_scores(crossed) if checks else math.nan,
            equal=result.lies_within(margin) if margin is not None and is_tested else None,
            post_hoc=is_post_hoc(self._study, result) or metric.name in declaration.post_hoc or not is_declared,
        )


def _identify(finding: Finding) -> tuple[str, str, str]:
    return finding.metric, finding.result.a, finding.result.b


def _keep_earlier_outcome(finding: Finding, earlier: Finding | None, look: EarlierLook) -> Finding:
    """Return the finding with the significant outcome of an earlier look, if the current look does not confirm it."""
    if earlier is None or earlier.outcome not in ("better", "worse") or finding.earlier_look is not None:
        return finding
    if finding.outcome in (earlier.outcome, "not comparable"):
        return finding
    result = LookResult(look.seeds, earlier.outcome, earlier.p_holm, 1 - look.confidence)
    outcome = earlier.outcome if finding.outcome == "no clear difference" else finding.outcome
    return replace(finding, outcome=outcome, earlier_look=result)


@functools.lru_cache(maxsize=32)  # the slices are both described and checked for a cost
def compute_contrast(study: CollectedStudy, metric: Metric, a: str, b: str, confidence: float) -> Contrast | str:
    """Return the contrast of two arms, or the reason why the arms cannot be compared on the metric."""
    if metric.direction is None:
        return _describe_missing_direction(metric)
    if reason := find_incomparable_reason(study, metric, a, b):
        return reason
    return contrast(build_score_table(study, metric, a, b), a, b, confidence, study.declaration.block_by_seed)


def is_post_hoc(study: CollectedStudy, result: Contrast) -> bool:
    """Return whether an arm, its role or a seed of the contrast was not declared before the first run."""
    seeds = {f"seed {cell.seed}" for arm in (result.a, result.b) for cell in study.get_cells(arm)}
    return bool({result.a, result.b, *seeds} & set(study.declaration.post_hoc))


def _describe_missing_direction(metric: Metric) -> str:
    kind = "a descriptive metric" if metric.is_known else "an unknown metric"
    return f"{metric.name} is {kind}, so neither higher nor lower values are better"
