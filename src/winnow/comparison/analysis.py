"""Compare the arms of a collected study. The package :mod:`winnow.reporting` writes the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import winnow
from winnow.comparison.available_metrics import AvailableMetrics
from winnow.comparison.cautions import list_cautions
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.comparison_json import JSON_KEYS, flatten_finding, flatten_ranking, to_dict, to_json_value
from winnow.comparison.contrast_families import FamilyTester
from winnow.comparison.contrast_statistics import Summary, check_confidence
from winnow.comparison.descriptive_statistics import (
    ArmSummary,
    PerSeedSummary,
    SliceLoss,
    collect_provenance,
    describe_arms,
    describe_leakage,
    describe_metrics,
    describe_slices,
)
from winnow.comparison.dose_response import DoseResponse, analyze_doses
from winnow.comparison.endpoints import Endpoints
from winnow.comparison.factor_analysis import FactorAnalysis, analyze_factors, qualify_verdict
from winnow.comparison.filter_ranking import FilterRanking, rank_filters
from winnow.comparison.findings import Finding
from winnow.comparison.ladder import Ladder, analyze_ladder
from winnow.comparison.limitations import describe_limitations
from winnow.comparison.metric_scores import summarize_base_model
from winnow.comparison.ngram_baselines import (
    EffectBeyondNgrams,
    NgramBaselines,
    compare_with_ngrams,
    find_word_frequency_reason,
    measure_effects_beyond_ngrams,
    state_word_frequencies,
)
from winnow.comparison.probability_change import ProbabilityChange, measure_probability_changes
from winnow.comparison.sample_size_plan import SampleSizePlan, plan_sample_size
from winnow.comparison.search_optimism import SearchOptimism, measure_optimism
from winnow.comparison.study_looks import find_look
from winnow.comparison.study_verdicts import decide_verdicts
from winnow.comparison.verdict import Verdict
from winnow.comparison.word_overlap import describe_overlaps, find_word_overlaps, summarize_overlaps
from winnow.errors import WinnowErrors
from winnow.metrics.metric_names import select_stage
from winnow.metrics.metric_registry import Metric, MetricRegistry


@dataclass(frozen=True)
class Comparison:
    """The comparison of a study's arms; :meth:`as_dict` returns the content of ``comparison.json``."""

    study: str
    primary_metric: str
    equivalence_margin: float | None
    confidence: float
    verdict: Verdict
    endpoints: Endpoints
    other_verdicts: dict[str, Verdict]
    probability_change: ProbabilityChange | None
    other_probability_changes: dict[str, ProbabilityChange]
    arms: dict[str, ArmSummary]
    base: Summary | None
    filter_ranking: FilterRanking | None
    findings: list[Finding]
    sample_size_plans: list[SampleSizePlan]
    contributions: dict[str, Finding]
    ngram_baselines: dict[str, NgramBaselines]
    effects_beyond_counting: list[EffectBeyondNgrams]
    only_word_frequencies: str | None
    not_comparable: list[dict[str, str]]
    slices: list[SliceLoss]
    leakage: dict[str, dict[str, float]]
    metrics: dict[str, dict[str, PerSeedSummary]]
    word_overlap: dict[str, Any]
    search: SearchOptimism | None
    missing_seeds: dict[str, list[int]]
    notes: list[str]
    limitations: str
    provenance: dict[str, Any]
    factors: FactorAnalysis | None
    doses: list[DoseResponse]
    ladder: Ladder | None
    registry: MetricRegistry

    def metric(self, name: str) -> Metric:
        """Return the metric with the given name."""
        return self.registry.metric(name)

    @property
    def primary(self) -> Metric:
        """The primary metric."""
        return self.metric(self.primary_metric)

    @property
    def filters_by_rank(self) -> list[str]:
        """The filters under test, best estimate first if they are ranked."""
        if self.filter_ranking is not None:
            return list(self.filter_ranking.filters)
        return [name for name, arm in self.arms.items() if arm.role == "filter"]

    @property
    def word_frequency_sentence(self) -> str | None:
        """What the models have learned if they are no better than n-gram models; otherwise ``None``."""
        return state_word_frequencies(self.only_word_frequencies) if self.only_word_frequencies is not None else None

    @property
    def headline(self) -> str:
        """The study's name and the verdict in one sentence."""
        return f"{self.study}: {self.verdict.sentence}"

    @property
    def paragraphs(self) -> list[str]:
        """The headline, the change in percent, and sentences on endpoints, filters, factors, doses and the ladder.

        The sentences on doses include the ranking of the filters.
        """
        changes = [] if self.probability_change is None else [self.probability_change.sentence]
        factors = self.factors.sentences if self.factors else ()
        doses = [sentence for response in self.doses for sentence in response.sentences]
        ladder = self.ladder.sentences if self.ladder else ()
        ranking = [self.filter_ranking.sentence] if self.filter_ranking and not self.doses else []
        return [self.headline, *changes, *self.verdict.sentences, *ranking, *factors, *doses, *ladder]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-compatible data. Numbers that are not finite become ``None``."""
        excluded_fields = ("findings", "registry")
        fields = {
            JSON_KEYS.get(name, name): getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in excluded_fields
        }
        endpoints = (self.endpoints.target, self.endpoints.specificity, self.endpoints.cost)
        declared_metrics = [endpoint.metric for endpoint in endpoints if endpoint.metric is not None]
        names = dict.fromkeys([*declared_metrics, *(finding.metric for finding in self.findings)])
        fields["metric_info"] = {
            metric.name: {"label": metric.label, "unit": metric.unit, "direction": metric.direction}
            for metric in map(self.metric, names)
        }
        fields["contributions"] = {signal: flatten_finding(finding) for signal, finding in self.contributions.items()}
        fields["effects_beyond_counting"] = [
            {"ngram": effect.ngram, **to_dict(effect.result)} for effect in self.effects_beyond_counting
        ]
        if self.filter_ranking is not None:
            fields["filter_ranking"] = flatten_ranking(self.filter_ranking)
        fields["contrasts"] = [flatten_finding(finding) for finding in self.findings]
        return {"winnow_version": winnow.__version__, **to_json_value(fields)}


def analyze(study: CollectedStudy, confidence: float = 0.95, extra_metrics: Sequence[str] = ()) -> Comparison:
    """Compare the arms of a study according to its declaration.

    Args:
        study: The study, as :func:`winnow.comparison.collect_study` returns it.
        confidence: Coverage of the confidence intervals. Tests use the significance level ``1 - confidence``.
        extra_metrics: Undeclared metrics to include. These metrics are described but not tested, and are marked as post
            hoc.

    Raises:
        WinnowErrors: If one of ``extra_metrics`` was not logged by any run (key ``metrics``).
    """
    check_confidence(confidence)
    _check_metrics_are_logged(study, extra_metrics)
    look = find_look(study, confidence)
    confidence = look.confidence
    declaration = study.declaration
    filter_arm, baseline = declaration.filter, declaration.baseline
    metric = study.registry.metric
    primary = metric(declaration.primary_metric)
    pairs: list[tuple[Metric, str | None, str]] = [
        (primary, arm, other)
        for arm in declaration.filters or (None,)
        for other in (baseline, declaration.get_control(arm))
        if other is not None
    ]
    ablated_signals = {arm: signal for arm, signal in declaration.ablations.items() if filter_arm}
    other_arms = [arm for arm in study.arms if arm not in (*declaration.filters, baseline)]
    undeclared_metrics = [name for name in extra_metrics if name not in declaration.secondary_metrics]

    tester = FamilyTester(study, confidence, look.earlier)
    primary_findings = tester.test("primary", pairs)
    reasons = {(entry["a"], entry["b"]): entry["reason"] for entry in tester.not_comparable}
    secondary = tester.test(
        "secondary",
        [
            (metric(name), arm, baseline)
            for name in declaration.secondary_metrics
            for arm in declaration.filters or (None,)
        ],
    )
    contributions = tester.test("contribution", [(primary, filter_arm, arm) for arm in ablated_signals])
    extra = tester.test("descriptive", [(metric(name), filter_arm, baseline) for name in undeclared_metrics])
    # The user did not request these contrasts. A separate tester keeps contrasts that cannot be computed out of the
    # reported list.
    descriptive = FamilyTester(study, confidence).test("descriptive", [(primary, arm, baseline) for arm in other_arms])
    findings = [*primary_findings, *secondary, *extra, *descriptive]
    ngram_baselines = compare_with_ngrams(study, primary)
    word_frequency_reasons = {
        arm: find_word_frequency_reason(ngram_baselines, (arm, baseline)) if arm in ngram_baselines else None
        for arm in (filter_arm, *declaration.filters)
    }
    tested_pairs = [(finding.result.a, finding.result.b) for finding in primary_findings]
    verdicts = decide_verdicts(study, [*primary_findings, *descriptive], reasons, look, word_frequency_reasons)
    verdicts = {arm: (endpoints, qualify_verdict(verdict, study)) for arm, (endpoints, verdict) in verdicts.items()}
    tested_endpoints = {arm: tested for arm, (tested, _) in verdicts.items()}
    probability_changes = measure_probability_changes(study, tested_endpoints, [*primary_findings, *secondary])
    endpoints, verdict = verdicts.pop(filter_arm or "")
    overlaps = find_word_overlaps(study, confidence)
    arms = describe_arms(study, primary, confidence)
    optimism = measure_optimism(study)
    return Comparison(
        study=study.name,
        primary_metric=primary.name,
        equivalence_margin=declaration.equivalence_margin,
        confidence=confidence,
        verdict=verdict,
        endpoints=endpoints,
        probability_change=probability_changes.pop(filter_arm or "", None),
        other_probability_changes=probability_changes,
        other_verdicts={arm: other_verdict for arm, (_, other_verdict) in verdicts.items()},
        arms=arms,
        base=summarize_base_model(study, primary),
        filter_ranking=rank_filters(study, primary, primary_findings, len(pairs), confidence),
        findings=findings,
        sample_size_plans=[
            plan_sample_size(study, finding, (1 - confidence) / len(pairs)) for finding in primary_findings
        ],
        contributions={ablated_signals[finding.result.b]: finding for finding in contributions},
        ngram_baselines=ngram_baselines,
        effects_beyond_counting=measure_effects_beyond_ngrams(study, primary, tested_pairs, confidence),
        only_word_frequencies=word_frequency_reasons[filter_arm],
        not_comparable=tester.not_comparable,
        slices=describe_slices(study, confidence),
        leakage=describe_leakage(study),
        metrics=describe_metrics(study, confidence),
        word_overlap=summarize_overlaps(overlaps, study),
        search=optimism,
        missing_seeds=study.missing_seeds,
        notes=[
            *([look.note] if look.note else []),
            *([optimism.sentence] if optimism else []),
            *study.notes,
            *list_cautions(study, findings),
            *describe_overlaps(overlaps, confidence),
        ],
        limitations=describe_limitations(study, arms, findings, overlaps),
        provenance=collect_provenance(study),
        factors=analyze_factors(study, confidence),
        doses=analyze_doses(study, confidence),
        ladder=analyze_ladder(study, confidence),
        registry=study.registry,
    )


def _check_metrics_are_logged(study: CollectedStudy, names: Sequence[str]) -> None:
    """Raise ``WinnowErrors`` if a requested metric was not logged by any run."""
    logged_metrics = sorted({name for cell in study.cells for name in select_stage("final", cell.metrics)})
    choices = AvailableMetrics.from_names(logged_metrics)
    if errors := [error for name in names if (error := choices.find_error(name, "metrics"))]:
        raise WinnowErrors(errors)
