"""The rule that turns contrasts into a verdict, and the sentences it is told in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from winnow.comparison.statistics import Contrast
from winnow.formatting import interval, number, p_text
from winnow.metrics.metric_registry import Metric

Outcome = Literal["better", "worse", "no clear difference", "not comparable"]
Family = Literal["primary", "secondary", "contribution", "descriptive"]

RULE = (
    "The verdict is that of the contrast between the filter and the full data in the declared primary "
    "metric. Not comparable: the contrast cannot be made, because an arm or its scores are missing, fewer "
    "than two seeds finished, no spread between seeds can be estimated, or budget, probes, held-out rows "
    "or tokenizer differ. Better or worse: its p value, adjusted by Holm's method over the two primary "
    "contrasts, is at most {alpha:.2g}, and the difference points to the good or the bad side. No clear "
    "difference: otherwise, which is not a claim that the arms are equal. Equality is claimed only where a "
    "margin was declared before the first run and the whole {confidence:.0%} interval lies within it. The "
    "contrast between the filter and the random control, judged by the same rule, says whether the effect is "
    "due to which rows were kept."
)
"""The rule in full; the report prints it."""


@dataclass(frozen=True)
class Finding:
    """A contrast in one metric, with its place in the protocol.

    ``family`` is ``primary``, ``secondary`` or ``contribution`` (each with its own Holm) or ``descriptive`` (``p_holm``
    is ``nan``). ``bootstrap`` and ``permutation_p`` are sensitivity rows. ``equal`` tells whether the interval lies
    within the declared margin, ``None`` where none was declared for this metric. ``post_hoc`` marks what was not
    declared before the first run.
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
    """The answer in a word, the reason for it, and two sentences for a reader in a hurry."""

    word: Outcome
    reason: str
    sentences: tuple[str, str]
    rule: str


def judge(metric: Metric, difference: float, p_value: float, alpha: float) -> Outcome:
    """Apply the rule to one contrast, given its (adjusted) p value."""
    if math.isnan(p_value) or metric.direction is None:
        return "not comparable"
    if p_value > alpha or difference == 0:
        return "no clear difference"
    return "better" if difference * metric.sign > 0 else "worse"


def decide(
    metric: Metric,
    findings: Sequence[Finding],
    arms: tuple[str | None, str, str | None],
    obstacles: dict[str, str],
    confidence: float,
    margin: float | None = None,
) -> Verdict:
    """Return the verdict of a study.

    Args:
        metric: The primary metric.
        findings: The primary contrasts that could be made.
        arms: Names of the filter under test, the baseline and the control.
        obstacles: For each arm that the filter cannot be compared with, why.
        confidence: Coverage of the intervals; its complement is the level of the tests.
        margin: The declared difference that would not matter, where there is one.
    """
    tested, baseline, control = arms
    rule = RULE.format(alpha=1 - confidence, confidence=confidence)
    by_arm = {finding.result.b: finding for finding in findings if finding.outcome != "not comparable"}
    first, second = by_arm.get(baseline), by_arm.get(control or "")
    last = _control(first, second, obstacles.get(control or "", "no random control ran"))
    if first is None or first.outcome is None:
        why = obstacles.get(baseline, "the scores do not vary between seeds, so no spread can be estimated")
        opening = f"{tested or 'The filter'} cannot be set against {baseline}: {why}."
        return Verdict("not comparable", why, (opening, last), rule)
    r = first.result
    reason = (
        f"{metric.name}: {r.a} - {r.b} = {number(r.difference)}, {confidence:.0%} interval "
        f"{interval(r.ci_low, r.ci_high)}, {p_text(first.p_holm)} after Holm"
    )
    if first.equal is not None:
        reason += f"; {'within' if first.equal else 'not within'} the declared margin of {number(margin)}"
    if r.assumed_independent:
        reason += "; items assumed independent"
    return Verdict(first.outcome, reason, (_effect(metric, first, confidence, margin), last), rule)


def _effect(metric: Metric, finding: Finding, confidence: float, margin: float | None) -> str:
    r = finding.result
    ends = f"{confidence:.0%} interval {interval(r.ci_low, r.ci_high)}"
    if finding.outcome == "no clear difference":
        told = f"{metric.label}: difference {number(r.difference)}, {ends}, {p_text(finding.p_holm)} after Holm"
        if finding.equal:
            return (
                f"The rows that {r.a} keeps make as good a model as all rows ({told}): any difference is smaller than "
                f"{number(margin)}, which was declared beforehand not to matter."
            )
        reach = f" and the interval reaches beyond the declared margin of {number(margin)}" if margin else ""
        return (
            f"These runs cannot tell whether the rows that {r.a} keeps make a better or a worse model than all rows "
            f"({told}); that is no proof of equality{reach}."
        )
    helped = "The filter helped" if finding.outcome == "better" else "The filter hurt"
    kept = f"after training on the rows that {r.a} keeps"
    small = f"; yet it is within the margin of {number(margin)} declared not to matter" if finding.equal else ""
    if metric.is_log_odds:
        ends = f"{confidence:.0%} interval {interval(math.exp(r.ci_low), math.exp(r.ci_high))}"
        return (
            f"{helped}: {kept}, the odds of a wanted word over an unwanted one are "
            f"{number(math.exp(r.difference))} times those after training on all rows ({ends}){small}."
        )
    moved = f"is {'higher' if r.difference > 0 else 'lower'} by {number(abs(r.difference))}"
    return f"{helped}: {kept}, {metric.label} {moved} than after training on all rows (difference, {ends}){small}."


def _control(first: Finding | None, second: Finding | None, why: str) -> str:
    if second is None:
        return f"Whether the choice of rows matters or only their number is open, since {why}."
    subject, rows = "It" if first else second.result.a, "as many rows drawn at random"
    effect = first is not None and first.outcome != "no clear difference"
    if second.outcome == "no clear difference":
        open_end = ", so the effect may come from how many rows were kept rather than from which"
        return f"{subject} cannot be told apart from training on {rows}{open_end if effect else ''}."
    if first is not None and first.outcome == second.outcome:
        return f"It is also {second.outcome} than training on {rows}: which rows were kept matters, not how many."
    return f"{subject} is {second.outcome} than training on {rows}, so which rows are kept does matter."
