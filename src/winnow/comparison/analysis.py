"""From a collected study to its comparison: every number of the report, and nothing about how it looks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import winnow
from winnow.comparison.description import Arm, Slice, arms, metrics, overlap, provenance, slices
from winnow.comparison.metrics import Metric, base_score, obstacle, scores
from winnow.comparison.runs import Study
from winnow.comparison.sensitivity import bootstrap_interval, permutation_p
from winnow.comparison.statistics import Summary, contrast, holm
from winnow.comparison.verdict import Family, Finding, Verdict, decide, judge


@dataclass(frozen=True)
class Comparison:
    """A study compared: what ``comparison.json`` holds, typed."""

    study: str
    primary_metric: str
    confidence: float
    verdict: Verdict
    arms: dict[str, Arm]
    base: Summary | None
    findings: list[Finding]
    not_comparable: list[dict[str, str]]
    slices: list[Slice]
    metrics: dict[str, dict[str, Summary]]
    overlap: dict[str, Any]
    missing_seeds: dict[str, list[int]]
    notes: list[str]
    provenance: dict[str, Any]

    @property
    def headline(self) -> str:
        """The study, its verdict and the two sentences, as one paragraph."""
        return " ".join((f"{self.study}: {self.verdict.word}.", *self.verdict.sentences))

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with ``None`` where a number is not known."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "findings"}
        contrasts = [_flat(finding) for finding in self.findings]
        everything = {"winnow_version": winnow.__version__, **plain, "contrasts": contrasts}
        return {name: _plain(value) for name, value in everything.items()}


def analyse(study: Study, confidence: float = 0.95) -> Comparison:
    """Compare the arms of a study by the protocol."""
    declared = study.declaration
    tested, baseline, control = declared.filter, declared.baseline, declared.control
    primary = Metric(declared.primary_metric)
    others = [other for other in (baseline, control) if other]
    pairs, refused = _comparable(study, [(primary, tested, other) for other in others])
    findings = _family("primary", study, pairs, confidence, len(others))
    obstacles = {refusal["b"]: refusal["reason"] for refusal in refused}
    verdict = decide(primary, findings, (tested, baseline, control), obstacles, confidence)

    wanted = [(Metric(name), tested, baseline) for name in declared.secondary_metrics]
    pairs, refused_too = _comparable(study, wanted)
    findings += _family("secondary", study, pairs, confidence, len(wanted))
    rest = [arm for arm in study.arms if arm not in (tested, baseline)]
    pairs, _ = _comparable(study, [(primary, arm, baseline) for arm in rest])
    findings += _family("descriptive", study, pairs, confidence, 0)
    return Comparison(
        study=study.name,
        primary_metric=primary.name,
        confidence=confidence,
        verdict=verdict,
        arms=arms(study, primary, confidence),
        base=base_score(study, primary),
        findings=findings,
        not_comparable=refused + refused_too,
        slices=slices(study, confidence),
        metrics=metrics(study, confidence),
        overlap=overlap(study),
        missing_seeds=study.missing,
        notes=[*study.notes, *_cautions(study, findings)],
        provenance=provenance(study),
    )


Pair = tuple[Metric, str, str]


def _comparable(
    study: Study, wanted: Iterable[tuple[Metric, str | None, str]]
) -> tuple[list[Pair], list[dict[str, str]]]:
    """Part the contrasts that may be made from those that may not, each of these with its reason."""
    pairs, refused = [], []
    for metric, a, b in wanted:
        reason = obstacle(study, metric, a, b) if a else "no filter ran beside it"
        if a and reason is None:
            pairs.append((metric, a, b))
        else:
            refused.append({"metric": metric.name, "a": a or "", "b": b, "reason": reason or ""})
    return pairs, refused


def _family(family: Family, study: Study, pairs: Iterable[Pair], confidence: float, declared: int) -> list[Finding]:
    """Make contrasts and adjust their p values together.

    Tests that were declared but cannot be made count in Holm's method all the same. What is ``descriptive``
    gets no adjusted p and no outcome.
    """
    made = []
    for metric, a, b in pairs:
        table = scores(study, metric, a, b)
        sensitivity = bootstrap_interval(table, a, b, confidence), permutation_p(table, a, b)
        made.append((metric, contrast(table, a, b, confidence), *sensitivity))
    adjusted = holm([result.p_value for _, result, *_ in made] + [math.nan] * (declared - len(made)))
    findings = []
    for (metric, result, bootstrap, permutation), p in zip(made, adjusted, strict=False):
        tested = family != "descriptive"
        outcome = judge(metric, result.difference, p, 1 - confidence) if tested else None
        p_holm = p if tested else math.nan
        findings.append(Finding(metric.name, family, result, p_holm, outcome, bootstrap, permutation))
    return findings


def _cautions(study: Study, findings: list[Finding]) -> list[str]:
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
    for finding in findings:
        if (left := finding.result.items_left_out) and finding.family != "descriptive":
            notes.append(f"{finding.metric}: {left} items were left out, since some run did not score them.")
        if finding.result.items == 1:
            notes.append(f"{finding.metric}: no scores per prompt or row, so the interval covers new seeds only.")
    return list(dict.fromkeys(notes))


def _flat(finding: Finding) -> dict[str, Any]:
    return {
        **{key: getattr(finding, key) for key in ("metric", "family", "outcome", "p_holm", "permutation_p")},
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
