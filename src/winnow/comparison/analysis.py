"""From a collected study to its comparison: every number of the report, and nothing about how it looks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import winnow
from winnow.comparison.collected_study import Study
from winnow.comparison.descriptives import Arm, Points, Slice, arms, metrics, overlap, provenance, slices
from winnow.comparison.metric_choices import MetricChoices
from winnow.comparison.metric_scores import base_score, obstacle, scores
from winnow.comparison.planning import Plan, plan
from winnow.comparison.resampling import bootstrap_interval, permutation_p
from winnow.comparison.statistics import Contrast, Summary, check_confidence, contrast, holm
from winnow.comparison.verdict import Family, Finding, Verdict, decide, judge
from winnow.errors import WinnowErrors
from winnow.metrics.metric_names import of_stage
from winnow.metrics.metric_registry import Metric, MetricRegistry
from winnow.tracking.keys import TOKENIZER


@dataclass(frozen=True)
class Comparison:
    """A study compared: what ``comparison.json`` holds, typed."""

    study: str
    primary_metric: str
    equivalence_margin: float | None
    confidence: float
    verdict: Verdict
    arms: dict[str, Arm]
    base: Summary | None
    findings: list[Finding]
    plans: list[Plan]
    contributions: dict[str, Finding]
    not_comparable: list[dict[str, str]]
    slices: list[Slice]
    metrics: dict[str, dict[str, Points]]
    overlap: dict[str, Any]
    missing_seeds: dict[str, list[int]]
    notes: list[str]
    provenance: dict[str, Any]
    registry: MetricRegistry

    def metric(self, name: str) -> Metric:
        """Return a metric by its name."""
        return self.registry.metric(name)

    @property
    def primary(self) -> Metric:
        """The primary metric."""
        return self.metric(self.primary_metric)

    @property
    def headline(self) -> str:
        """The study, its verdict and the two sentences, as one paragraph."""
        return " ".join((f"{self.study}: {self.verdict.word}.", *self.verdict.sentences))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with ``None`` where a number is not known."""
        left_out = ("findings", "registry")
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}
        used = map(self.metric, dict.fromkeys([self.primary_metric, *(finding.metric for finding in self.findings)]))
        plain["metric_info"] = {
            one.name: {"label": one.label, "unit": one.unit, "direction": one.direction} for one in used
        }
        plain["contributions"] = {signal: _flat(finding) for signal, finding in self.contributions.items()}
        contrasts = [_flat(finding) for finding in self.findings]
        everything = {"winnow_version": winnow.__version__, **plain, "contrasts": contrasts}
        return {name: _plain(value) for name, value in everything.items()}


def analyse(study: Study, confidence: float = 0.95, metrics_too: Sequence[str] = ()) -> Comparison:
    """Compare the arms of a study by the protocol.

    Args:
        study: What :func:`winnow.comparison.collect` read.
        confidence: Coverage of the intervals; its complement is the level of the tests.
        metrics_too: Metrics that were not declared, to be described and marked as post hoc.

    Raises:
        WinnowErrors: One of ``metrics_too`` was not logged by any run (key ``metrics``).
    """
    check_confidence(confidence)
    _check_logged(study, metrics_too)
    declared = study.declaration
    tested, baseline = declared.filter, declared.baseline
    # A control that is the baseline is no second test.
    control = declared.control if declared.control != baseline else None
    metric = study.registry.metric
    primary = metric(declared.primary_metric)
    others = [other for other in (baseline, control) if other]
    secondary = [(metric(name), tested, baseline) for name in declared.secondary_metrics]
    ablated = {arm: signal for arm, signal in declared.ablations.items() if tested}
    rest = [arm for arm in study.arms if arm not in (tested, baseline)]
    judging = _Judging(study, confidence)
    first = judging.family("primary", [(primary, tested, other) for other in others])
    obstacles = {refusal["b"]: refusal["reason"] for refusal in judging.refused}
    second = judging.family("secondary", secondary)
    parts = judging.family("contribution", [(primary, tested, arm) for arm in ablated])
    too = [(metric(name), tested, baseline) for name in metrics_too if name not in {m.name for m, *_ in secondary}]
    asked = judging.family("descriptive", too)
    shown = _Judging(study, confidence).family("descriptive", [(primary, arm, baseline) for arm in rest])
    findings = [*first, *second, *asked, *shown]
    return Comparison(
        study=study.name,
        primary_metric=primary.name,
        equivalence_margin=declared.equivalence_margin,
        confidence=confidence,
        verdict=decide(primary, first, (tested, baseline, control), obstacles, confidence, declared.equivalence_margin),
        arms=arms(study, primary, confidence),
        base=base_score(study, primary),
        findings=findings,
        plans=[plan(study, finding, (1 - confidence) / len(others)) for finding in first],
        contributions={ablated[finding.result.b]: finding for finding in parts},
        not_comparable=judging.refused,
        slices=slices(study, confidence),
        metrics=metrics(study, confidence),
        overlap=overlap(study),
        missing_seeds=study.missing,
        notes=[*study.notes, *_cautions(study, findings)],
        provenance=provenance(study),
        registry=study.registry,
    )


def _check_logged(study: Study, names: Sequence[str]) -> None:
    """Raise if metrics that are to be described were not logged."""
    logged = sorted({name for cell in study.cells for name in of_stage("final", cell.metrics)})
    choices = MetricChoices.of(logged)
    if errors := [error for name in names if (error := choices.error(name, "metrics"))]:
        raise WinnowErrors(errors)


Pair = tuple[Metric, str | None, str]


class _Judging:
    """Makes families of contrasts, and keeps those that may not be made with their reasons."""

    def __init__(self, study: Study, confidence: float) -> None:
        self._study = study
        self._confidence = confidence
        self.refused: list[dict[str, str]] = []

    def family(self, family: Family, wanted: Sequence[Pair]) -> list[Finding]:
        """Make contrasts and adjust their p values together.

        Tests that were declared but cannot be made count in Holm's method all the same. What is ``descriptive`` gets
        no adjusted p and no outcome.
        """
        study, alpha = self._study, 1 - self._confidence
        made = []
        for metric, a, b in wanted:
            reason = obstacle(study, metric, a, b) if a else "no filter ran beside it"
            if metric.direction is None and family != "descriptive":
                reason = f"{metric.name} is {'descriptive' if metric.is_known else 'unknown'}: neither value is better"
            if a is None or reason is not None:
                self.refused.append({"metric": metric.name, "a": a or "", "b": b, "reason": str(reason)})
                continue
            table = scores(study, metric, a, b)
            blocked = study.declaration.block_by_seed
            made.append(
                (
                    metric,
                    contrast(table, a, b, self._confidence, blocked),
                    bootstrap_interval(table, a, b, self._confidence, blocked=blocked),
                    permutation_p(table, a, b, blocked=blocked),
                )
            )
        adjusted = holm([result.p_value for _, result, *_ in made] + [math.nan] * (len(wanted) - len(made)))
        tested, findings = family != "descriptive", []
        for (metric, result, bootstrap, permutation), p in zip(made, adjusted, strict=False):
            outcome = judge(metric, result.difference, p, alpha) if tested else None
            p_holm, equal = (p if tested else math.nan), self._equal(family, result)
            late = self._is_post_hoc(metric, result)
            findings.append(Finding(metric.name, family, result, p_holm, outcome, bootstrap, permutation, equal, late))
        return findings

    def _equal(self, family: Family, result: Any) -> bool | None:
        margin = self._study.declaration.equivalence_margin
        known = margin is not None and family == "primary" and not math.isnan(result.ci_low)
        return bool(result.within(margin)) if known else None

    def _is_post_hoc(self, metric: Metric, result: Any) -> bool:
        declared = self._study.declaration
        names = {declared.primary_metric, *declared.secondary_metrics}
        return metric.name not in names or bool({metric.name, result.a, result.b} & set(declared.post_hoc))


def _cautions(study: Study, findings: Iterable[Finding]) -> list[str]:
    """Say what weakens the claim."""
    notes = []
    if few := [f"{arm} ({n})" for arm in study.arms if (n := len(study.of(arm))) < 5]:
        notes.append(f"Fewer than 5 seeds: {', '.join(few)}. The protocol asks for 5; the verdict is provisional.")
    if shared := overlap(study)["shared"]:
        notes.append(
            f"The filter's lists and the probes share {len(shared)} words ({', '.join(shared[:8])}"
            f"{', ...' if len(shared) > 8 else ''}): a filter on the probe's own words succeeds in part by "
            "construction."
        )
    tokenizers = {arm: {cell.tags.get(TOKENIZER, "not recorded") for cell in study.of(arm)} for arm in study.arms}
    if len(set().union(*tokenizers.values())) > 1:
        told = "; ".join(f"{arm}: {', '.join(sorted(found))}" for arm, found in tokenizers.items())
        notes.append(
            f"More than one tokenizer ({told}): the losses and perplexities that stand side by side here are not on "
            "one scale, and none is tested against another."
        )
    for finding in findings:
        notes += [f"{finding.metric}: {text}" for text in limitations(finding.result, finding.family != "descriptive")]
    return list(dict.fromkeys(notes))


def limitations(result: Contrast, tested: bool = True) -> list[str]:
    """Return what limits a contrast, each as a sentence.

    Args:
        result: The contrast.
        tested: Whether the contrast is tested; items that were left out of descriptive ones are not listed.
    """
    notes = []
    if result.seeds_left_out:
        notes.append(f"left out of {result.a} - {result.b}: {', '.join(result.seeds_left_out)}.")
    if result.items_left_out and tested:
        notes.append(f"{result.items_left_out} items were left out because half of an arm's runs or more lack them.")
    if result.missing and tested:
        notes.append(f"{result.missing} missing scores of single runs were filled by an additive fit of run and item.")
    if few := [f"{name} ({levels} levels)" for name, levels in result.fixed.items() if levels > 1]:
        notes.append(f"{', '.join(few)}: fixed, because fewer than 5 levels do not show how they vary.")
    if result.items == 1:
        notes.append("no scores per prompt or row, so the interval covers new seeds only.")
    elif not result.levels:
        notes.append("every factor of the items is fixed, so the interval covers new seeds only.")
    if result.assumed_independent and tested:
        notes.append("items assumed independent: which of them are alike was not recorded.")
    return notes


def _flat(finding: Finding) -> dict[str, Any]:
    own = ("metric", "family", "outcome", "p_holm", "permutation_p", "equal", "post_hoc")
    return {
        **{key: getattr(finding, key) for key in own},
        **asdict(finding.result),
        "bootstrap_low": finding.bootstrap[0],
        "bootstrap_high": finding.bootstrap[1],
    }


def _plain(value: Any) -> Any:
    """Turn dataclasses into dicts and numbers that JSON cannot hold into ``None``."""
    if hasattr(value, "__dataclass_fields__"):
        return _plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
