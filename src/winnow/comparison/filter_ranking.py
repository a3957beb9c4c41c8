"""Compare several filters under test: their effects, their controls, their ranks and which of them may be the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.comparison.arm_ranking import rank_arms
from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.findings import Adjustment, Finding
from winnow.comparison.joint_adjustment import MIN_FILTERS, estimate_study_arms
from winnow.formatting import join_names
from winnow.metrics.metric_registry import Metric


@dataclass(frozen=True)
class RankedFilter:
    """One of several filters under test.

    Attributes:
        effect: The contrast between the filter and the baseline; ``None`` if it cannot be computed.
        control_effect: The contrast between the filter and its random control; ``None`` if it cannot be computed.
        cause: The likely cause of a clear effect: which rows the filter keeps, or how many; otherwise empty.
        rank: The rank of the filter's mean; ``None`` if the filter cannot be ranked.
        rank_interval: The smallest and the largest rank that the filter may have.
        may_be_best: Whether no other filter is significantly better.
    """

    effect: Finding | None
    control_effect: Finding | None
    cause: str
    rank: int | None = None
    rank_interval: tuple[int, int] | None = None
    may_be_best: bool = False


@dataclass(frozen=True)
class FilterRanking:
    """The comparison of several filters under test.

    Attributes:
        adjustment: How the p-values of the primary contrasts are adjusted.
        contrasts: The number of primary contrasts.
        best_set: The filters that cannot be distinguished from the best one, best estimate first. With the confidence
            of the comparison, the set contains a filter with the best true effect. Empty if the filters cannot be
            ranked.
        filters: The filters under test, by name: ranked filters first, best estimate first.
    """

    adjustment: Adjustment
    contrasts: int
    best_set: tuple[str, ...]
    filters: dict[str, RankedFilter]

    @property
    def sentence(self) -> str:
        """Which filters may be the best, in one or two sentences."""
        ranked = [name for name, entry in self.filters.items() if entry.rank is not None]
        if not self.best_set:
            return "The filters cannot be ranked, because they share too few seeds or items."
        if len(self.best_set) == 1:
            best = self.filters[self.best_set[0]].effect
            is_clear = best is not None and best.outcome == "better"
            doubt = "" if is_clear else " Whether it is better than the baseline is not clear."
            return f"{self.best_set[0]} is better than all other filters under test.{doubt}"
        if len(self.best_set) == len(ranked):
            return f"Any of the {len(ranked)} filters may be the best: the differences between them are not clear."
        return f"{join_names(self.best_set)} cannot be distinguished from the best of the {len(ranked)} filters."


def rank_filters(
    study: CollectedStudy, metric: Metric, findings: Sequence[Finding], contrasts: int, confidence: float
) -> FilterRanking | None:
    """Rank the filters under test, or return ``None`` if there is only one.

    Args:
        study: The study.
        metric: The primary metric.
        findings: The primary findings.
        contrasts: The number of declared primary contrasts.
        confidence: Coverage of the set of best filters, and joint coverage of the rank intervals.
    """
    declaration = study.declaration
    if len(declaration.filters) < MIN_FILTERS:
        return None
    by_pair = {(finding.result.a, finding.result.b): finding for finding in findings}
    effects = {arm: by_pair.get((arm, declaration.baseline)) for arm in declaration.filters}
    controls = {arm: by_pair.get((arm, declaration.get_control(arm) or "")) for arm in declaration.filters}
    comparable = [arm for arm, effect in effects.items() if effect is not None and not math.isnan(effect.p_holm)]
    estimates = estimate_study_arms(study, metric, comparable) if len(comparable) > 1 else None
    ranking = None
    if estimates is not None:
        ranking = rank_arms(estimates, comparable, metric.direction == "higher", confidence)
    ranks = ranking.ranks if ranking else {}
    filters = {
        arm: RankedFilter(
            effects[arm],
            controls[arm],
            find_cause(effects[arm], controls[arm]),
            ranks.get(arm),
            ranking.rank_intervals.get(arm) if ranking else None,
            ranking is not None and arm in ranking.best_set,
        )
        for arm in sorted(declaration.filters, key=lambda name: ranks.get(name, len(effects) + 1))
    }
    return FilterRanking(
        adjustment=findings[0].adjustment if findings else "Holm",
        contrasts=contrasts,
        best_set=ranking.best_set if ranking else (),
        filters=filters,
    )


def find_cause(effect: Finding | None, control_effect: Finding | None) -> str:
    """Return the likely cause of an effect in a few words: which rows the filter keeps, or how many."""
    if effect is None or effect.outcome not in ("better", "worse"):
        return ""
    if control_effect is None or control_effect.outcome in (None, "not comparable"):
        return "unknown: not compared with a control"
    if control_effect.outcome == "no clear difference":
        return "possibly how many rows are kept"
    if control_effect.outcome == effect.outcome:
        return "which rows are kept"
    return f"unclear: {control_effect.outcome} than random rows"
