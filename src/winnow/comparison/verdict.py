"""Decide the verdict on a filter from its three endpoints, and summarize it in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from winnow.comparison.endpoints import (
    CostEndpoint,
    CostOutcome,
    Endpoint,
    Endpoints,
    SpecificityEndpoint,
    SpecificityOutcome,
    TargetEndpoint,
)
from winnow.comparison.findings import Outcome
from winnow.comparison.ngram_baselines import name_word_frequency_result, state_word_frequencies
from winnow.comparison.non_inferiority import intersection_union
from winnow.formatting import format_confidence, format_number, join_names
from winnow.metrics.metric_catalog import LOSS_UNIT
from winnow.metrics.metric_names import ALL_ROWS_SLICE
from winnow.metrics.metric_registry import Metric

Color = Literal["green", "amber", "red", "gray"]
"""The color of a verdict.

- ``green``: the target is better, the effect is specific (or there is no subject), and the cost is within the margin.
- ``red``: the target is worse, or the cost exceeds the margin without a clear effect on the target.
- ``gray``: the target is not comparable.
- ``amber``: all other verdicts.
"""

TARGET_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
SPECIFICITY_OUTCOMES: tuple[SpecificityOutcome, ...] = get_args(SpecificityOutcome)
COST_OUTCOMES: tuple[CostOutcome, ...] = get_args(CostOutcome)

VERDICT_RULE = (
    "The verdict reports the result for three endpoints. Each endpoint is a contrast between the filter and the full "
    "data that was declared before the first run. Target: the primary metric is better or worse if the p-value, "
    "adjusted for all primary contrasts, is at most {alpha:.2g}; otherwise there is no clear "
    "difference, which does not mean that the arms are equal. Specificity: the effect on the subject minus the effect "
    "on the comparison subjects (or on the same prompts with the subject masked), tested in the same way. If this "
    "difference is not significant, the effect is called not specific if the target is significant and the whole "
    "{confidence} interval lies below half of the target effect, and unclear otherwise. Cost: a one-sided test at "
    "level {one_sided:.2g} shows whether the increase in cost, measured by the guard metric, is below the margin. "
    "Without a declared margin, the cost is not tested. The verdict is green only if the target is better, the effect "
    "is specific (or the probe has no subject), the cost is below the margin, and nothing is post hoc. Because all "
    "endpoints are required, no multiplicity correction is applied across endpoints (intersection-union test); each "
    "endpoint is adjusted over the filters under test. A result of an earlier declared interim look is kept if the "
    "current look neither confirms nor contradicts it. Equivalence is claimed only if a margin was declared before "
    "the first run and the interval lies entirely within it. The contrast between the filter and the random control "
    "is tested in the same way as the target. Together with the contrast between the random control and the full "
    "data, it shows whether the effect depends on which rows are kept."
)
"""The rule that determines the verdict, as printed in the report."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a filter.

    Attributes:
        word: The outcome of the target, or ``learned only word frequencies`` or ``have not learned the word frequencies
            of their rows``.
        green: Whether every declared endpoint supports the claim that the filter helps.
        color: The color of the verdict.
        sentence: One sentence with the results of all endpoints. Every output contains the same sentence.
        sentences: Further sentences with the numbers of each endpoint and of the control.
        reason: The numbers of the target endpoint in short form, or the reason why it is not comparable.
        p: The p-value of the intersection-union test of all declared endpoints; ``nan`` if one of them is untested.
        post_hoc: One phrase for each change that was made after the first run.
        decision_rule: The rule that determines the verdict.
    """

    word: str
    green: bool
    color: Color
    sentence: str
    sentences: tuple[str, ...]
    reason: str
    p: float
    post_hoc: tuple[str, ...]
    decision_rule: str


def decide_verdict(
    endpoints: Endpoints,
    metric: Callable[[str], Metric],
    sentences: Sequence[str] = (),
    reason: str = "",
    post_hoc: Sequence[str] = (),
    confidence: float = 0.95,
    only_word_frequencies: str | None = None,
) -> Verdict:
    """Return the verdict on a filter.

    Args:
        endpoints: The endpoints of the filter.
        metric: Returns a metric by its name.
        sentences: Further sentences with numbers.
        reason: The numbers of the target endpoint in short form, or the reason why it is not comparable.
        post_hoc: One phrase for each change that was made after the first run. A post hoc verdict is never green.
        confidence: Coverage of the intervals.
        only_word_frequencies: Why the models have learned only word frequencies; ``None`` if they have learned more. A
            reason replaces the sentence about the endpoints, and the verdict is never green.
    """
    color = choose_color(endpoints.target.verdict, endpoints.specificity.verdict, endpoints.cost.verdict)
    is_green = color == "green" and not post_hoc and only_word_frequencies is None
    word, sentence = str(endpoints.target.verdict), state_endpoints(endpoints, metric)
    if only_word_frequencies is not None:
        word = name_word_frequency_result(only_word_frequencies)
        sentence = state_word_frequencies(only_word_frequencies)
    if post_hoc:
        sentence = f"Post hoc ({'; '.join(post_hoc)}): {sentence[0].lower()}{sentence[1:]}"
    return Verdict(
        word=word,
        green=is_green,
        color="amber" if color == "green" and not is_green else color,
        sentence=sentence,
        sentences=tuple(sentences),
        reason=reason,
        p=_combine_p_values(endpoints, metric),
        post_hoc=tuple(post_hoc),
        decision_rule=VERDICT_RULE.format(
            alpha=1 - confidence, one_sided=(1 - confidence) / 2, confidence=format_confidence(confidence)
        ),
    )


def choose_color(target: Outcome, specificity: SpecificityOutcome, cost: CostOutcome) -> Color:
    """Return the color of a verdict whose endpoints were declared before the first run."""
    if target == "not comparable":
        return "gray"
    if target == "worse" or (target == "no clear difference" and cost == "worse"):
        return "red"
    if target == "better" and specificity in ("specific", "none") and cost == "within margin":
        return "green"
    return "amber"


def state_endpoints(endpoints: Endpoints, metric: Callable[[str], Metric]) -> str:
    """Return the results of the three endpoints as one sentence."""
    target, specificity, cost = endpoints.target, endpoints.specificity, endpoints.cost
    phrases = (
        _state_target(target, metric) + _name_deciding_look(target, target.verdict),
        _state_specificity(target, specificity) + _name_deciding_look(specificity, specificity.verdict),
        _state_cost(cost, metric) + _name_deciding_look(cost, cost.verdict),
    )
    return f"{'; '.join(phrases)}."


def _name_deciding_look(endpoint: Endpoint, verdict: str) -> str:
    """Return which earlier look decided the verdict, in parentheses, or an empty string if none did."""
    look = endpoint.earlier_look
    return f" (at the interim look after {look.seeds} seeds)" if look and look.outcome == verdict else ""


def _state_target(target: TargetEndpoint, metric: Callable[[str], Metric]) -> str:
    primary = metric(target.metric or "")
    parsed = primary.parsed_name
    place = f"on {parsed.scope}" if parsed.kind == "probe" else f"in {primary.label}"
    mark = " (items assumed independent)" if target.assumed_independent else ""
    return f"{target.verdict.capitalize()} {place}{mark}"


def _state_specificity(target: TargetEndpoint, specificity: SpecificityEndpoint) -> str:
    subject = join_names(specificity.subjects) if specificity.subjects else "the subject"
    if specificity.verdict == "specific" and target.verdict not in ("better", "worse"):
        reference = "for the comparison subjects" if specificity.comparison else "with the subject masked"
        return f"better for {subject} than {reference}"
    phrase = {
        "specific": f"specific to {subject}",
        "not specific": f"not specific to {subject}",
        "unclear": f"not shown to be specific to {subject}",
        "none": "specificity not applicable",
        "untested": "specificity untested",
    }[specificity.verdict]
    return f"{phrase} (post hoc)" if specificity.post_hoc and not target.post_hoc else phrase


def _state_cost(cost: CostEndpoint, metric: Callable[[str], Metric]) -> str:
    if cost.verdict == "untested":
        return "cost untested"
    guard = metric(cost.metric or "")
    filter_value, baseline_value = cost.filter_mean, cost.baseline_mean
    name, parsed = guard.definition.label, guard.parsed_name
    if guard.unit == LOSS_UNIT:
        filter_value, baseline_value, name = math.exp(filter_value), math.exp(baseline_value), "perplexity"
    if parsed.kind == "held_out":
        name = (
            f"{parsed.group} {name}" if parsed.scope == ALL_ROWS_SLICE else f"{name} on {parsed.group}/{parsed.scope}"
        )
    phrase = {
        "within margin": "cost within the margin",
        "worse": "cost above the margin",
        "unclear": "cost unclear",
    }[cost.verdict]
    return f"{phrase}: {name} {format_number(filter_value)} vs. {format_number(baseline_value)}"


def _combine_p_values(endpoints: Endpoints, metric: Callable[[str], Metric]) -> float:
    """Return the p-value of the intersection-union test of all declared endpoints.

    All p-values are compared on the two-sided scale, so the one-sided p-value of the cost is doubled. An effect in the
    wrong direction has a p-value of 1. If an earlier look decided an endpoint, the p-value is that of this look.
    """
    target, specificity, cost = endpoints.target, endpoints.specificity, endpoints.cost
    cost_p = cost.earlier_look.p if cost.earlier_look and cost.earlier_look.outcome == "within margin" else cost.p
    p_values = [2 * cost_p if not cost_p > 0.5 else 1.0]
    for endpoint, outcome in ((target, "better"), (specificity, "specific")):
        if endpoint.metric is None:
            continue
        if endpoint.earlier_look is not None and endpoint.earlier_look.outcome == outcome:
            p_values.append(endpoint.earlier_look.p)
            continue
        is_improvement = endpoint.estimate * metric(endpoint.metric).sign > 0
        p_values.append(endpoint.p if is_improvement or math.isnan(endpoint.p) else 1.0)
    return intersection_union(p_values)
