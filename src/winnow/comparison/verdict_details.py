"""Describe the results for the endpoints and for the random control in sentences with numbers."""

from __future__ import annotations

import math

from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.endpoints import CostEndpoint, Endpoint, SpecificityEndpoint
from winnow.comparison.findings import Finding
from winnow.formatting import format_confidence, format_interval, format_number, format_p_value, join_names
from winnow.metrics.metric_registry import Metric


def describe_target(metric: Metric, finding: Finding, confidence: float, margin: float | None) -> str:
    """Describe the contrast between the filter and the baseline in one sentence."""
    r = finding.result
    ends = f"{format_confidence(confidence)} interval {format_interval(r.ci_low, r.ci_high)}"
    if finding.outcome == "no clear difference":
        p_value = f"{format_p_value(finding.p_holm)}, {finding.adjustment_label}"
        numbers = f"{metric.label}: difference {format_number(r.difference)}, {ends}, {p_value}"
        if finding.equal:
            return (
                f"Training on the rows that {r.a} keeps gives as good a model as training on all rows ({numbers}): the "
                f"interval lies within the margin of {format_number(margin)} that was declared in advance."
            )
        beyond = f": the interval reaches beyond the declared margin of {format_number(margin)}" if margin else ""
        return (
            f"These runs do not show whether training on the rows that {r.a} keeps gives a better or worse model than "
            f"training on all rows ({numbers}). This does not show that the two are equivalent{beyond}."
        )
    condition = f"after training on the rows that {r.a} keeps"
    small = f"; the difference is within the declared margin of {format_number(margin)}" if finding.equal else ""
    if metric.is_log_odds:
        ends = f"{format_confidence(confidence)} interval {format_interval(math.exp(r.ci_low), math.exp(r.ci_high))}"
        return (
            f"Target: {condition}, the odds of a wanted word over an unwanted one are "
            f"{format_number(math.exp(r.difference))} times those after training on all rows ({ends}){small}."
        )
    change = f"is {'higher' if r.difference > 0 else 'lower'} by {format_number(abs(r.difference))}"
    return f"Target: {condition}, {metric.label} {change} than after training on all rows (difference, {ends}){small}."


def summarize_target(metric: Metric, finding: Finding, confidence: float, margin: float | None) -> str:
    """Return the numbers of the target endpoint in short form."""
    r = finding.result
    reason = (
        f"{metric.name}: {r.a} - {r.b} = {format_number(r.difference)}, {format_confidence(confidence)} interval "
        f"{format_interval(r.ci_low, r.ci_high)}, {format_p_value(finding.p_holm)} ({finding.adjustment_label})"
    )
    if finding.equal is not None:
        reason += f"; {'within' if finding.equal else 'not within'} the declared margin of {format_number(margin)}"
    return f"{reason}; items assumed independent" if r.assumed_independent else reason


def describe_specificity(endpoint: SpecificityEndpoint, metric: Metric | None, confidence: float) -> str:
    """Describe the specificity in one sentence."""
    if metric is None:
        return f"Specificity is not applicable: {endpoint.reason}."
    if endpoint.verdict == "untested":
        return f"Specificity is untested: {endpoint.reason}."
    subject = join_names(endpoint.subjects) or "the subject"
    reference = join_names(endpoint.comparison) or "the same prompts with the subject masked"
    text = (
        f"Specificity: the effect for {subject} minus the effect for {reference} is {format_number(endpoint.estimate)} "
        f"{metric.unit} ({format_confidence(confidence)} interval {format_interval(*endpoint.interval)}, "
        f"{format_p_value(endpoint.p)})"
    )
    if endpoint.verdict == "not specific" and not endpoint.p <= 1 - confidence:
        return f"{text}. The whole interval lies below half of the target effect."
    return f"{text}."


def describe_cost(endpoint: CostEndpoint, metric: Metric, confidence: float) -> str:
    """Describe the cost on all rows, on the rows that the filter keeps, and on the rows that it removes."""
    if math.isnan(endpoint.estimate):
        return f"The cost is untested: {endpoint.reason}."
    low, high = endpoint.interval
    of_cost = "" if low > 0 else " of the cost"
    ends = f"{format_confidence(confidence)} interval{of_cost} {format_interval(*endpoint.interval)}"
    rows = [f"{format_number(cost.estimate)} on the {name} rows" for name, cost in endpoint.slices.items()]
    slices = f"; {join_names(rows)}" if rows else ""
    change = "is worse by" if low > 0 else "is better by" if high < 0 else "differs by"
    text = f"Cost: {metric.label} {change} {format_number(abs(endpoint.estimate))} {metric.unit} ({ends}{slices})"
    if endpoint.verdict == "untested":
        return f"{text}. The cost is untested: {endpoint.reason}."
    margin = f"the declared margin of {endpoint.margin:g}"
    independent = " Rows are assumed independent." if endpoint.assumed_independent else ""
    comparison = {
        "within margin": f"significantly below {margin} (one-sided {format_p_value(endpoint.p)})",
        "worse": f"significantly above {margin}",
        "unclear": f"neither significantly below nor above {margin}",
    }["unclear" if is_decided_earlier(endpoint, endpoint.verdict) else endpoint.verdict]
    return f"{text}, which is {comparison}.{independent}"


def is_decided_earlier(endpoint: Endpoint, verdict: str) -> bool:
    """Return whether the verdict on an endpoint is that of an earlier interim look."""
    return endpoint.earlier_look is not None and endpoint.earlier_look.outcome == verdict


def describe_earlier_look(endpoint: Endpoint, verdict: str) -> str:
    """Describe how the verdict on an endpoint relates to an earlier interim look, or return an empty string."""
    look = endpoint.earlier_look
    if look is None:
        return ""
    name = f"interim look after {look.seeds} seeds per arm, at the level {look.level:.3g}"
    if is_decided_earlier(endpoint, verdict):
        return f" This comparison alone does not decide the endpoint; '{verdict}' is the result of the {name}."
    return f" The {name}, had the result '{look.outcome}', which this comparison contradicts."


def describe_control(
    effect: Finding | None,
    control_effect: Finding | None,
    size_effect: Contrast | None,
    baseline: str,
    reason: str,
) -> str:
    """Describe whether it matters which rows are kept.

    The text states that it matters only if the filter differs significantly from the random control, which trains on
    the same number of random rows. It also states the effect of reducing the number of rows alone.

    Args:
        effect: The contrast between the filter and the baseline.
        control_effect: The contrast between the filter and the random control.
        size_effect: The contrast between the random control and the baseline.
        baseline: The name of the baseline.
        reason: Why the filter cannot be compared with the random control.
    """
    if control_effect is None:
        return f"Whether it matters which rows are kept, or only how many, remains unknown: {reason}."
    name = control_effect.result.a
    control = f"{control_effect.result.b}, which trains on the same number of random rows"
    size = _describe_size_effect(size_effect, baseline)
    if control_effect.outcome == "no clear difference":
        has_effect = effect is not None and effect.outcome in ("better", "worse")
        caveat = " The effect may come from how many rows are kept rather than from which rows." if has_effect else ""
        return f"{name} does not clearly differ from {control}.{caveat} {size}"
    return f"{name} is {control_effect.outcome} than {control}, so it matters which rows are kept. {size}"


def _describe_size_effect(size_effect: Contrast | None, baseline: str) -> str:
    """Describe the contrast between the random control and the baseline in one sentence."""
    if size_effect is None or math.isnan(size_effect.ci_low):
        return (
            f"Whether the number of rows also matters is unknown, because the random control and {baseline} were not "
            "compared."
        )
    interval = format_interval(size_effect.ci_low, size_effect.ci_high)
    contrast = f"{size_effect.a} - {size_effect.b}: {format_number(size_effect.difference)}, interval {interval}"
    if size_effect.ci_low <= 0 <= size_effect.ci_high:
        return f"Reducing the number of rows alone has no clear effect ({contrast})."
    return f"Reducing the number of rows alone also has an effect ({contrast})."
