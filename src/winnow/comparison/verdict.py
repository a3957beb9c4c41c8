"""The rule that turns contrasts into a verdict, and the sentences it is told in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from winnow.comparison.metrics import Metric
from winnow.comparison.statistics import Contrast

Outcome = Literal["better", "worse", "no clear difference", "not comparable"]

RULE = (
    "The verdict is that of the contrast between the filter and the full data in the declared primary metric. "
    "Not comparable: the contrast cannot be made, because an arm or its scores are missing, fewer than two seeds "
    "finished, no spread between seeds can be estimated, or budget, probes, held-out rows or tokenizer differ. "
    "Better or worse: its p value, adjusted by Holm's method over the two primary contrasts, is at most {alpha:.2g}, and "
    "the difference points to the good or the bad side. No clear difference: otherwise, which is not a claim that the "
    "arms are equal. The contrast between the filter and the random control, judged by the same rule, says whether the "
    "effect is due to which rows were kept."
)
"""The rule in full; the report prints it."""


@dataclass(frozen=True)
class Finding:
    """A contrast in one metric, with its place in the protocol.

    ``family`` is ``primary`` or ``secondary`` (each with its own Holm) or ``descriptive`` (``p_holm`` is
    ``nan``). ``bootstrap`` and ``permutation_p`` are sensitivity rows.
    """

    metric: str
    family: Literal["primary", "secondary", "descriptive"]
    result: Contrast
    p_holm: float
    outcome: Outcome
    bootstrap: tuple[float, float]
    permutation_p: float


@dataclass(frozen=True)
class Verdict:
    """The answer in a word, the reason for it, and two sentences for a reader in a hurry."""

    word: Outcome
    reason: str
    sentences: tuple[str, str]
    rule: str


def judge(metric: Metric, difference: float, p_value: float, alpha: float) -> Outcome:
    """Apply the rule to one contrast, given its (adjusted) p value."""
    if math.isnan(p_value):
        return "not comparable"
    if p_value > alpha or difference == 0:
        return "no clear difference"
    return "better" if (difference > 0) == metric.higher_is_better else "worse"


def decide(
    metric: Metric,
    findings: Sequence[Finding],
    arms: tuple[str | None, str, str | None],
    obstacles: dict[str, str],
    confidence: float,
) -> Verdict:
    """Return the verdict of a study.

    Args:
        metric: The primary metric.
        findings: The primary contrasts that could be made.
        arms: Names of the filter under test, the baseline and the control.
        obstacles: For each arm that the filter cannot be compared with, why.
        confidence: Coverage of the intervals; its complement is the level of the tests.
    """
    tested, baseline, control = arms
    rule = RULE.format(alpha=1 - confidence)
    by_arm = {finding.result.b: finding for finding in findings}
    first, second = by_arm.get(baseline), by_arm.get(control or "")
    if first is None or first.outcome == "not comparable":
        why = obstacles.get(baseline, "the seeds' scores do not vary, so no spread can be estimated")
        opening = f"Not comparable: {tested or 'the filter'} cannot be set against {baseline}, since {why}."
        return Verdict(
            "not comparable", why, (opening, _control(metric, None, second, control, obstacles)), rule
        )
    reason = f"{_interval(first, confidence)}, {p_text(first.p_holm)} after Holm"
    return Verdict(
        first.outcome,
        reason,
        (_effect(metric, first, confidence), _control(metric, first, second, control, obstacles)),
        rule,
    )


def _effect(metric: Metric, finding: Finding, confidence: float) -> str:
    tested, baseline, d = finding.result.a, finding.result.b, finding.result.difference
    evidence = f"({_interval(finding, confidence)}, {p_text(finding.p_holm)} after Holm)"
    if finding.outcome == "no clear difference":
        return (
            f"No clear difference: whether the rows that {tested} keeps make a better or a worse model than all rows "
            f"({baseline}) cannot be told from these runs {evidence}; that is not proof that the two are equal."
        )
    helped = "The filter helped" if finding.outcome == "better" else "The filter hurt"
    if metric.name.endswith("log_odds"):
        times, word = math.exp(abs(d)), "higher" if d > 0 else "lower"
        return (
            f"{helped}: after training on the rows that {tested} keeps, the odds of a wanted word over an unwanted one are "
            f"{number(times)} times {word} than after training on all rows {evidence}."
        )
    return (
        f"{helped}: training on the rows that {tested} keeps moved {metric.label} by {number(d)} against training on "
        f"all rows {evidence}."
    )


def _control(
    metric: Metric,
    first: Finding | None,
    second: Finding | None,
    control: str | None,
    obstacles: dict[str, str],
) -> str:
    if second is None or second.outcome == "not comparable":
        why = obstacles.get(control or "", "there is no such arm")
        return f"Whether the choice of rows matters, or only their number, is open: no random control to compare ({why})."
    evidence = f"(difference {number(second.result.difference)}, {p_text(second.p_holm)} after Holm)"
    if second.outcome == "no clear difference":
        ending = ", so the effect may come from how many rows were kept rather than from which"
        moved = first is not None and first.outcome in ("better", "worse")
        return (
            f"It cannot be told apart from as many rows drawn at random {evidence}{ending if moved else ''}."
        )
    same = first is not None and first.outcome == second.outcome
    ending = (
        "the effect is due to which rows were kept, not to how many"
        if same
        else ("so which rows are kept does matter, beside how many")
    )
    return (
        f"It is also {second.outcome} than as many rows drawn at random {evidence}: {ending}."
        if same
        else (f"It is {second.outcome} than as many rows drawn at random {evidence}, {ending}.")
    )


def _interval(finding: Finding, confidence: float) -> str:
    r = finding.result
    return f"difference {number(r.difference)}, {confidence:.0%} interval {number(r.ci_low)} to {number(r.ci_high)}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with a few significant digits and a true minus sign, or a dash where there is none.

    >>> number(-0.012345), number(1234.5), number(None)
    ('−0.0123', '1,234', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}".replace("-", "−")


def p_text(p: float | None) -> str:
    """Return a p value as it is written in a sentence.

    >>> p_text(0.00004), p_text(0.0312)
    ('p < 0.0001', 'p = 0.031')
    """
    if p is None or math.isnan(p):
        return "p not known"
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"
