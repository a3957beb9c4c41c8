"""Decide the verdict of a study from its contrasts, and describe it in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from winnow.comparison.contrast_statistics import Contrast
from winnow.formatting import format_interval, format_number, format_p_value
from winnow.metrics.metric_registry import Metric

Outcome = Literal["better", "worse", "no clear difference", "not comparable"]
Family = Literal["primary", "secondary", "contribution", "descriptive"]

VERDICT_RULE = (
    "The verdict is the outcome of the contrast between the filter and the full data in the declared primary metric. "
    "Not comparable: the contrast cannot be computed, because an arm or its scores are missing, fewer than two seeds "
    "finished, the variance between seeds cannot be estimated, or the budget, probes, held-out rows or tokenizer "
    "differ. Better or worse: the p value, adjusted by Holm's method over the two primary contrasts, is at most "
    "{alpha:.2g}; the sign of the difference decides between the two. No clear difference: all other cases. This does "
    "not mean that the arms are equal. Equality is claimed only if a margin was declared before the first run and the "
    "{confidence:.0%} interval lies entirely within it. The contrast between the filter and the random control follows "
    "the same rule and shows whether the effect depends on which rows were kept."
)
"""The rule that determines the verdict, as printed in the report."""


@dataclass(frozen=True)
class Finding:
    """A contrast between two arms on one metric, with its role in the protocol.

    Attributes:
        metric: The name of the metric.
        family: The family of tests. The ``primary``, ``secondary`` and ``contribution`` families are Holm-corrected
            separately. Contrasts of the ``descriptive`` family are not tested.
        result: The contrast.
        p_holm: The p value after Holm's correction; ``nan`` if the contrast is not tested.
        outcome: The outcome of the test; ``None`` if the contrast is not tested.
        bootstrap: The ends of the bootstrap interval, a sensitivity check.
        permutation_p: The p value of the permutation test, a sensitivity check.
        equal: Whether the interval lies within the declared margin; ``None`` if no margin applies to this contrast.
        post_hoc: Whether the metric or an arm was not declared before the first run.
    """

    metric: str
    family: Family
    result: Contrast
    p_holm: float
    outcome: Outcome | None
    bootstrap: tuple[float, float]
    permutation_p: float
    equal: bool | None = None
    post_hoc: bool = False


@dataclass(frozen=True)
class Verdict:
    """The verdict of a study.

    ``sentences`` contains two sentences: one on the effect of the filter, and one on whether the effect depends on
    which rows are kept.
    """

    word: Outcome
    reason: str
    sentences: tuple[str, str]
    decision_rule: str


def decide_outcome(metric: Metric, difference: float, p_value: float, alpha: float) -> Outcome:
    """Return the outcome of one contrast.

    Args:
        metric: The metric; its direction decides whether the difference is better or worse.
        difference: The mean of the first arm minus the mean of the second arm.
        p_value: The p value, adjusted if several contrasts are tested.
        alpha: The level of the test.
    """
    if math.isnan(p_value) or metric.direction is None:
        return "not comparable"
    if p_value > alpha or difference == 0:
        return "no clear difference"
    return "better" if difference * metric.sign > 0 else "worse"


def decide_verdict(
    metric: Metric,
    findings: Sequence[Finding],
    arms: tuple[str | None, str, str | None],
    incomparable_reasons: dict[str, str],
    confidence: float,
    margin: float | None = None,
) -> Verdict:
    """Return the verdict of a study.

    Args:
        metric: The primary metric.
        findings: The primary contrasts that could be computed.
        arms: The names of the filter under test, the baseline and the control.
        incomparable_reasons: The reasons why the filter cannot be compared with an arm, by arm.
        confidence: Coverage of the intervals. Tests use the level ``1 - confidence``.
        margin: The declared equivalence margin, if there is one.
    """
    filter_arm, baseline, control = arms
    rule = VERDICT_RULE.format(alpha=1 - confidence, confidence=confidence)
    by_arm = {finding.result.b: finding for finding in findings if finding.outcome != "not comparable"}
    effect, control_effect = by_arm.get(baseline), by_arm.get(control or "")
    no_control = incomparable_reasons.get(control or "", "no random control was run")
    control_sentence = _describe_control(effect, control_effect, no_control)
    if effect is None or effect.outcome is None:
        reason = incomparable_reasons.get(
            baseline, "the scores do not vary between seeds, so the variance cannot be estimated"
        )
        sentence = f"{filter_arm or 'The filter'} cannot be compared with {baseline}: {reason}."
        return Verdict("not comparable", reason, (sentence, control_sentence), rule)
    r = effect.result
    reason = (
        f"{metric.name}: {r.a} - {r.b} = {format_number(r.difference)}, {confidence:.0%} interval "
        f"{format_interval(r.ci_low, r.ci_high)}, {format_p_value(effect.p_holm)} (Holm-corrected)"
    )
    if effect.equal is not None:
        reason += f"; {'within' if effect.equal else 'not within'} the declared margin of {format_number(margin)}"
    if r.assumed_independent:
        reason += "; items assumed independent"
    sentences = (_describe_effect(metric, effect, confidence, margin), control_sentence)
    return Verdict(effect.outcome, reason, sentences, rule)


def _describe_effect(metric: Metric, finding: Finding, confidence: float, margin: float | None) -> str:
    """Return one sentence on the contrast between the filter and training on all rows."""
    r = finding.result
    ends = f"{confidence:.0%} interval {format_interval(r.ci_low, r.ci_high)}"
    if finding.outcome == "no clear difference":
        p_value = f"{format_p_value(finding.p_holm)}, Holm-corrected"
        numbers = f"{metric.label}: difference {format_number(r.difference)}, {ends}, {p_value}"
        if finding.equal:
            return (
                f"Training on the rows that {r.a} keeps gives as good a model as training on all rows ({numbers}): the "
                f"interval lies within the margin of {format_number(margin)} that was declared in advance."
            )
        beyond = f": the interval reaches beyond the declared margin of {format_number(margin)}" if margin else ""
        return (
            f"These runs do not show whether training on the rows that {r.a} keeps gives a better or worse model than "
            f"training on all rows ({numbers}). This does not prove equality{beyond}."
        )
    effect = "The filter helped" if finding.outcome == "better" else "The filter hurt"
    condition = f"after training on the rows that {r.a} keeps"
    small = f"; the difference is within the declared margin of {format_number(margin)}" if finding.equal else ""
    if metric.is_log_odds:
        ends = f"{confidence:.0%} interval {format_interval(math.exp(r.ci_low), math.exp(r.ci_high))}"
        return (
            f"{effect}: {condition}, the odds of a wanted word over an unwanted one are "
            f"{format_number(math.exp(r.difference))} times those after training on all rows ({ends}){small}."
        )
    change = f"is {'higher' if r.difference > 0 else 'lower'} by {format_number(abs(r.difference))}"
    return (
        f"{effect}: {condition}, {metric.label} {change} than after training on all rows (difference, {ends}){small}."
    )


def _describe_control(effect: Finding | None, control_effect: Finding | None, reason: str) -> str:
    """Return one sentence on the contrast with the control, which shows whether it matters which rows are kept."""
    if control_effect is None:
        return f"Whether it matters which rows are kept, or only how many, remains unknown: {reason}."
    subject, rows = "It" if effect else control_effect.result.a, "training on as many random rows"
    if control_effect.outcome == "no clear difference":
        has_effect = effect is not None and effect.outcome != "no clear difference"
        size_effect = ", so the effect may come from how many rows are kept rather than which" if has_effect else ""
        return f"{subject} shows no clear difference from {rows}{size_effect}."
    if effect is not None and effect.outcome == control_effect.outcome:
        return f"It is also {control_effect.outcome} than {rows}: it matters which rows are kept, not only how many."
    return f"{subject} is {control_effect.outcome} than {rows}, so it matters which rows are kept."
