"""Estimate the effect of a filter against the fraction of the training rows that it keeps.

A dose series contains the arms of one filter that differ in one numeric setting, such as `cheerful[mood=10%]` and
`cheerful[mood=30%]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from winnow.comparison.arm_estimates import ArmEstimates, estimate_arms
from winnow.comparison.arm_ranking import rank_arms
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.contrast_families import compute_contrast
from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.crossed_design import pivot_arms
from winnow.comparison.dose_trend import estimate_trend
from winnow.comparison.endpoints import NO_SPECIFICITY
from winnow.comparison.metric_scores import build_score_table, find_incomparable_reason
from winnow.comparison.simultaneous_tests import AdjustedEffect, estimate_jointly
from winnow.formatting import format_interval, format_number, format_p_value, join_names
from winnow.metrics.metric_names import TRAIN_ROWS

MIN_DOSES: Final = 3
"""The smallest number of doses for which a trend is tested."""

_DOSE_LABEL: Final = re.compile(r"(?P<filter>[^\[]+)\[(?P<setting>[\w.]+)=(?P<value>-?[\d.]+(?:e-?\d+)?%?)\]")


@dataclass(frozen=True)
class DosePoint:
    """One dose of a series.

    Attributes:
        arm: The arm.
        value: The value of the swept setting.
        fraction: The fraction of the training rows that the arm keeps.
        effect: The difference from the baseline, with the simultaneous interval over the doses.
        control: The random control of the same size; ``None`` if there is none.
        control_effect: The difference between the control and the baseline, with an unadjusted interval.
        effect_of_selection: The difference between the arm and its control, with the simultaneous interval.
        specificity: The difference from the baseline on the specificity metric.
        cost: The difference from the baseline on the guard metric.
        may_be_best: Whether the dose cannot be distinguished from the best one.
    """

    arm: str
    value: str
    fraction: float
    effect: AdjustedEffect
    control: str | None
    control_effect: AdjustedEffect | None
    effect_of_selection: AdjustedEffect | None
    specificity: Contrast | None
    cost: Contrast | None
    may_be_best: bool


@dataclass(frozen=True)
class DoseResponse:
    """The effect of a filter by dose.

    Attributes:
        filter: The name of the filter.
        setting: The swept setting, such as ``mood`` or ``mood.at_least``.
        points: The doses, in ascending order of the fraction of rows that they keep.
        trend: The change of the effect per unit of the fraction.
        trend_of_selection: The same for the difference between each arm and its control; ``None`` if a dose has none.
        best_doses: The values of the setting that cannot be distinguished from the best one, best estimate first.
        sentences: The results in sentences.
    """

    filter: str
    setting: str
    points: list[DosePoint]
    trend: AdjustedEffect
    trend_of_selection: AdjustedEffect | None
    best_doses: list[str]
    sentences: list[str]


def analyze_doses(study: CollectedStudy, confidence: float) -> list[DoseResponse]:
    """Return the dose-response of each series that has at least three comparable doses."""
    series: dict[tuple[str, str], dict[str, str]] = {}
    for arm in study.declaration.filters:
        if match := _DOSE_LABEL.fullmatch(arm):
            series.setdefault((match["filter"], match["setting"]), {})[arm] = match["value"]
    primary = study.registry.metric(study.declaration.primary_metric)
    responses = []
    for (name, setting), values in series.items():
        comparable = {
            arm: value
            for arm, value in values.items()
            if find_incomparable_reason(study, primary, arm, study.declaration.baseline) is None
        }
        fractions = _measure_fractions(study, list(comparable))
        if len(set(fractions.values())) >= MIN_DOSES:
            responses.append(_estimate_response(study, name, setting, comparable, fractions, confidence))
    return responses


def _measure_fractions(study: CollectedStudy, arms: Sequence[str]) -> dict[str, float]:
    """Return the fraction of the baseline's training rows that each arm trains on. Omit arms without a row count."""

    def count(arm: str) -> float:
        counts = [cell.metrics.get(TRAIN_ROWS, math.nan) for cell in study.get_cells(arm)]
        return sum(counts) / len(counts) if counts else math.nan

    total = count(study.declaration.baseline)
    fractions = {arm: count(arm) / total for arm in arms}
    return {arm: fraction for arm, fraction in fractions.items() if math.isfinite(fraction)}


def _estimate_response(
    study: CollectedStudy,
    name: str,
    setting: str,
    values: Mapping[str, str],
    fractions: Mapping[str, float],
    confidence: float,
) -> DoseResponse:
    declaration = study.declaration
    baseline, primary = declaration.baseline, study.registry.metric(declaration.primary_metric)
    arms = sorted(fractions, key=lambda arm: fractions[arm])
    controls = {
        arm: control
        for arm in arms
        if (control := declaration.get_control(arm))
        and find_incomparable_reason(study, primary, control, baseline) is None
    }
    names = list(dict.fromkeys([*arms, baseline, *controls.values()]))
    table = build_score_table(study, primary, *names)
    estimates = estimate_arms(pivot_arms(table, names, declaration.block_by_seed))
    is_higher_better = primary.direction != "lower"
    ranking = rank_arms(estimates, arms, is_higher_better, confidence)
    effects = _estimate_differences(estimates, dict.fromkeys(arms, baseline), confidence)
    selection = _estimate_differences(estimates, controls, confidence)
    control_effects = {
        control: _estimate_differences(estimates, {control: baseline}, confidence)[control]
        for control in dict.fromkeys(controls.values())
    }
    points = [
        DosePoint(
            arm=arm,
            value=values[arm],
            fraction=fractions[arm],
            effect=effects[arm],
            control=controls.get(arm),
            control_effect=control_effects.get(controls.get(arm, "")),
            effect_of_selection=selection.get(arm),
            specificity=_compare(study, declaration.specificity_metric, arm, confidence),
            cost=_compare(study, declaration.guard_metric, arm, confidence),
            may_be_best=arm in ranking.best_set,
        )
        for arm in arms
    ]
    trend = estimate_trend(estimates, fractions, confidence=confidence)
    has_controls = len(controls) == len(arms)
    response = DoseResponse(
        filter=name,
        setting=setting,
        points=points,
        trend=trend,
        trend_of_selection=estimate_trend(estimates, fractions, controls, confidence) if has_controls else None,
        best_doses=[values[arm] for arm in ranking.best_set],
        sentences=[],
    )
    response.sentences.extend(_describe_response(response, 1 - confidence))
    return response


def _estimate_differences(
    estimates: ArmEstimates, references: Mapping[str, str], confidence: float
) -> dict[str, AdjustedEffect]:
    """Return the difference between each arm and its reference, with simultaneous intervals."""
    contrasts = {arm: {arm: 1.0, reference: -1.0} for arm, reference in references.items()}
    return estimate_jointly(estimates, contrasts, confidence) if contrasts else {}


def _compare(study: CollectedStudy, metric: str | None, arm: str, confidence: float) -> Contrast | None:
    if metric is None or metric == NO_SPECIFICITY:
        return None
    result = compute_contrast(study, study.registry.metric(metric), arm, study.declaration.baseline, confidence)
    return result if isinstance(result, Contrast) else None


def _describe_response(response: DoseResponse, alpha: float) -> list[str]:
    """Return the doses that cannot be distinguished from the best one, and the trends."""
    best, *others = [f"{response.setting}={value}" for value in response.best_doses] or ["unknown"]
    if len(response.best_doses) == len(response.points):
        sentences = [f"No dose of {response.filter} can be distinguished from the best one, {best}."]
    elif others:
        similar = join_names(others)
        sentences = [f"The best dose of {response.filter} is {best}; it cannot be distinguished from {similar}."]
    else:
        sentences = [f"The best dose of {response.filter} is {best}; all other doses are significantly worse."]
    sentences.append(_describe_trend(f"The effect of {response.filter}", response.trend, alpha))
    if response.trend_of_selection is not None:
        subject = f"The difference between {response.filter} and its random controls"
        sentences.append(_describe_trend(subject, response.trend_of_selection, alpha))
    return sentences


def _describe_trend(subject: str, trend: AdjustedEffect, alpha: float) -> str:
    slope = (
        f"{format_number(trend.estimate / 10)} per 10% of the rows, interval "
        f"{format_interval(trend.ci_low / 10, trend.ci_high / 10)}, {format_p_value(trend.p_value)}"
    )
    if not trend.p_value <= alpha:
        return f"{subject} shows no clear linear trend over the fraction of rows kept ({slope})."
    direction = "increases" if trend.estimate > 0 else "decreases"
    return f"{subject} {direction} with the fraction of rows kept ({slope})."
