"""Summarize the three endpoints as badges, each with a symbol, a short result and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from winnow.comparison.analysis import Comparison
from winnow.comparison.endpoints import CostEndpoint, Endpoint, SpecificityEndpoint, TargetEndpoint
from winnow.comparison.verdict_details import is_decided_earlier
from winnow.formatting import MISSING_VALUE, format_interval, format_number, format_p_value, join_names

Tone = Literal["good", "bad", "open", "none"]

SYMBOLS: dict[Tone, str] = {"good": "✓", "bad": "✗", "open": "?", "none": MISSING_VALUE}
"""A symbol per tone, so that a badge is readable without color."""

TONES: dict[str, Tone] = {
    "better": "good",
    "specific": "good",
    "within margin": "good",
    "worse": "bad",
    "not specific": "bad",
    "no clear difference": "open",
    "unclear": "open",
    "not comparable": "none",
    "none": "none",
    "untested": "none",
}
"""The tone of each outcome, by outcome."""


@dataclass(frozen=True)
class Badge:
    """One endpoint of the verdict, as shown at the top of the page.

    Attributes:
        name: The name of the endpoint.
        tone: Whether the result is good, bad, open or missing. It determines the color and the border.
        symbol: The symbol of the tone.
        verdict: The result in a few words.
        estimate: The estimate with its sign; empty if there is none.
        details: The metric, interval and p-value, or the reason why the endpoint is untested.
    """

    name: str
    tone: Tone
    symbol: str
    verdict: str
    estimate: str
    details: str


def build_badges(comparison: Comparison) -> list[Badge]:
    """Return the badges of the target, the specificity and the cost.

    If the models have learned only word frequencies, no result counts as good.
    """
    endpoints = comparison.endpoints
    badges = [
        _build_badge("Target", endpoints.target, _describe_result(comparison, endpoints.target)),
        _build_badge("Specificity", endpoints.specificity, _describe_specificity(comparison, endpoints.specificity)),
        _build_badge("Cost", endpoints.cost, _describe_cost(comparison, endpoints.cost)),
    ]
    if comparison.only_word_frequencies is None:
        return badges
    return [replace(badge, tone="open", symbol=SYMBOLS["open"]) if badge.tone == "good" else badge for badge in badges]


def _build_badge(name: str, endpoint: TargetEndpoint | SpecificityEndpoint | CostEndpoint, details: str) -> Badge:
    tone = TONES[endpoint.verdict]
    sign = "+" if endpoint.estimate > 0 else ""
    estimate = "" if math.isnan(endpoint.estimate) else f"{sign}{format_number(endpoint.estimate)}"
    mark = ", post hoc" if endpoint.post_hoc else ""
    if is_decided_earlier(endpoint, endpoint.verdict):
        mark += ", at an earlier look"
    return Badge(name, tone, SYMBOLS[tone], f"{endpoint.verdict}{mark}", estimate, details)


def _describe_result(comparison: Comparison, endpoint: Endpoint) -> str:
    """Return the metric, the interval and the p-value, or the reason why the endpoint is untested."""
    if endpoint.reason is not None or endpoint.metric is None:
        return str(endpoint.reason)
    return (
        f"{comparison.metric(endpoint.metric).label}: {format_interval(*endpoint.interval)}, "
        f"{format_p_value(endpoint.p)}"
    )


def _describe_specificity(comparison: Comparison, endpoint: SpecificityEndpoint) -> str:
    text = _describe_result(comparison, endpoint)
    if endpoint.reason is not None:
        return text
    reference = join_names(endpoint.comparison) or "the same prompts with the subject masked"
    return f"{join_names(endpoint.subjects) or 'the subject'} minus {reference}; {text}"


def _describe_cost(comparison: Comparison, endpoint: CostEndpoint) -> str:
    if math.isnan(endpoint.estimate) or endpoint.metric is None:
        return str(endpoint.reason)
    margin = "no margin declared" if endpoint.margin is None else f"margin {endpoint.margin:g}"
    slices = [
        f"{'+' if cost.estimate > 0 else ''}{format_number(cost.estimate)} on {name} rows"
        for name, cost in endpoint.slices.items()
    ]
    text = f"{comparison.metric(endpoint.metric).label}: {format_interval(*endpoint.interval)}, {margin}"
    return f"{text}; {', '.join(slices)}" if slices else text
