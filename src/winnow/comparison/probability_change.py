"""Describe how much probability the models give to wanted and unwanted words, in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.endpoints import Endpoints
from winnow.comparison.findings import Finding
from winnow.comparison.metric_scores import compute_seed_scores, get_item_scores
from winnow.formatting import format_percentage
from winnow.metrics.metric_names import probe_metric_name

UNWANTED_SCORE, WANTED_SCORE = "unwanted_mass", "wanted_mass"


@dataclass(frozen=True)
class ProbabilityChange:
    """The total probability of a probe's wanted and unwanted words with the baseline and with a filter.

    All probabilities are means over the test prompts and over the seeds of an arm. They are descriptive: the verdict
    tests the primary metric. ``sentence`` states them as percentages. Every output contains the same sentence.
    """

    probe: str
    filter: str
    baseline: str
    prompts: int
    unwanted_before: float
    unwanted_after: float
    wanted_before: float
    wanted_after: float
    sentence: str


def measure_probability_changes(
    study: CollectedStudy, endpoints: Mapping[str, Endpoints], findings: Sequence[Finding] = ()
) -> dict[str, ProbabilityChange]:
    """Return the change of each filter whose target is comparable, if the runs recorded both probabilities.

    Args:
        study: The study.
        endpoints: The endpoints of each filter under test.
        findings: The findings on declared metrics. A change is marked as not clear if its metric was tested and the
            adjusted p-value is not significant.
    """
    declaration = study.declaration
    primary = study.registry.metric(declaration.primary_metric).parsed_name
    if primary.kind != "probe":
        return {}
    unwanted, wanted = (
        study.registry.metric(probe_metric_name(primary.scope, score)) for score in (UNWANTED_SCORE, WANTED_SCORE)
    )
    table = get_item_scores(study, unwanted)
    if table is None:
        return {}
    changes = {}
    for arm, tested in endpoints.items():
        if not arm or tested.target.verdict == "not comparable":
            continue
        scores = {
            metric.name: [
                list(compute_seed_scores(study, metric, name).values()) for name in (declaration.baseline, arm)
            ]
            for metric in (unwanted, wanted)
        }
        if all(all(by_arm) for by_arm in scores.values()):
            means = [(fmean(before), fmean(after)) for before, after in scores.values()]
            prompts = int(table.loc[table["arm"] == arm, "item"].nunique())
            unclear = {
                finding.metric
                for finding in findings
                if (finding.result.a, finding.result.b) == (arm, declaration.baseline)
                and finding.outcome == "no clear difference"
            }
            marks = [" (not clear)" if metric.name in unclear else "" for metric in (unwanted, wanted)]
            changes[arm] = _build_change(primary.scope, arm, declaration.baseline, prompts, means[0], means[1], marks)
    return changes


def _build_change(
    probe: str,
    arm: str,
    baseline: str,
    prompts: int,
    unwanted: tuple[float, float],
    wanted: tuple[float, float],
    marks: Sequence[str],
) -> ProbabilityChange:
    """Return a change.

    The probabilities are those with the baseline and with the filter. The marks follow the changes of unwanted and of
    wanted words in the sentence.
    """
    sentence = (
        f"The probability of unwanted words {_describe_change(*unwanted)}{marks[0]}; that of wanted words "
        f"{_describe_change(*wanted)}{marks[1]} ({baseline} vs. {arm}, means over {prompts} test prompts and all "
        "seeds)."
    )
    return ProbabilityChange(probe, arm, baseline, prompts, *unwanted, *wanted, sentence)


def _describe_change(before: float, after: float) -> str:
    old, new = format_percentage(before), format_percentage(after)
    if old == new or math.isclose(before, after):
        return f"stayed at {old}"
    return f"{'rose' if after > before else 'fell'} from {old} to {new}"
