"""Build the grid of arms and factor levels, and the table of effects by level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.factor_analysis import FilterByFactor, LevelOutcome
from winnow.formatting import MISSING_VALUE, format_interval, format_number, format_p_cell
from winnow.reporting.factor_figure import select_effects
from winnow.reporting.table_rendering import Table, build_table

OUTCOME_SYMBOLS = {"better": "▲", "worse": "▼", "no clear difference": "○", "not comparable": MISSING_VALUE}
"""A symbol per outcome, so that the grid is readable without color."""


@dataclass(frozen=True)
class GridCell:
    """One cell of the grid.

    Attributes:
        mean: The mean of the primary metric; empty if there are no runs.
        effect: The difference from the baseline with the symbol of the outcome; empty for arms that are not tested.
        interval: The interval of the difference.
        outcome: The outcome; empty for arms that are not tested.
    """

    mean: str
    effect: str = ""
    interval: str = ""
    outcome: str = ""


@dataclass(frozen=True)
class FactorGrid:
    """The grid of one factor: one row per arm, and one column per level.

    Attributes:
        factor: The factor.
        levels: The levels, which are the headings of the columns.
        rows: The cells of each arm, by arm: one per level, and the average.
        interactions: The p-value of the interaction, by filter.
        notes: Why the effects of a filter could not be estimated.
    """

    factor: str
    levels: list[str]
    rows: dict[str, list[GridCell]]
    interactions: dict[str, str]
    notes: list[str]


def build_factor_grids(comparison: Comparison) -> list[FactorGrid]:
    """Return the grid of each factor; empty if the study has no factors."""
    analysis = comparison.factors
    if analysis is None:
        return []
    grids = []
    for factor, levels in analysis.levels.items():
        effects = {effect.filter: effect for effect in select_effects(comparison, factor)}
        rows = {
            arm: [
                *(_build_cell(comparison, factor, level, arm, effects.get(arm)) for level in levels),
                _build_average(comparison, factor, arm, effects.get(arm)),
            ]
            for arm in comparison.arms
        }
        interactions = {arm: format_p_cell(effect.interaction_p) for arm, effect in effects.items()}
        notes = [f"{arm}: {effect.reason}." for arm, effect in effects.items() if effect.reason]
        grids.append(FactorGrid(factor, levels, rows, interactions, notes))
    return grids


def build_factor_table(comparison: Comparison) -> Table:
    """Return the effects of all filters at all levels, their averages and the interactions as one table."""
    rows: list[dict[str, Any]] = []
    for effect in comparison.factors.effects if comparison.factors else ():
        for level, outcome in (effect.levels | ({"average": effect.average} if effect.average else {})).items():
            rows.append({
                "metric": effect.metric, "factor": effect.factor, "filter": effect.filter, "level": level,
                "difference": outcome.estimate, "ci_low": outcome.ci_low, "ci_high": outcome.ci_high,
                "p_adjusted": outcome.p_adjusted, "outcome": outcome.outcome, "interaction_p": effect.interaction_p,
            })  # fmt: skip
    columns = {
        "metric": [comparison.metric(row["metric"]).label for row in rows],
        "filter": [row["filter"] for row in rows],
        "level": [f"{row['factor']} {row['level']}" for row in rows],
        "difference": [format_number(row["difference"]) for row in rows],
        "interval": [format_interval(row["ci_low"], row["ci_high"]) for row in rows],
        "p (adjusted)": [format_p_cell(row["p_adjusted"]) for row in rows],
        "p (interaction)": [format_p_cell(row["interaction_p"]) for row in rows],
    }
    caption = "Difference between each filter and the baseline at each level of each factor, adjusted over the levels."
    return build_table(rows, "factors", caption, columns)


def _build_cell(comparison: Comparison, factor: str, level: str, arm: str, effect: FilterByFactor | None) -> GridCell:
    summary = comparison.factors.means[factor][level].get(arm) if comparison.factors else None
    mean = MISSING_VALUE if summary is None else format_number(summary.mean)
    outcome = effect.levels.get(level) if effect else None
    return GridCell(mean) if outcome is None else _with_effect(mean, outcome)


def _build_average(comparison: Comparison, factor: str, arm: str, effect: FilterByFactor | None) -> GridCell:
    """Return the cell of the average. If levels were selected, the arm's mean is not the average over the levels."""
    mean = comparison.arms[arm].mean
    if comparison.factors and comparison.factors.selection:
        summaries = [by_arm.get(arm) for by_arm in comparison.factors.means[factor].values()]
        mean = sum(math.nan if summary is None else summary.mean for summary in summaries) / len(summaries)
    text = format_number(mean)
    return GridCell(text) if effect is None or effect.average is None else _with_effect(text, effect.average)


def _with_effect(mean: str, outcome: LevelOutcome) -> GridCell:
    sign = "+" if outcome.estimate > 0 else ""
    return GridCell(
        mean,
        f"{OUTCOME_SYMBOLS[outcome.outcome]} {sign}{format_number(outcome.estimate)}",
        format_interval(outcome.ci_low, outcome.ci_high),
        outcome.outcome,
    )
