"""Draw the effect of each filter at each level of a factor, one column of a paper wide (8.4 cm)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from winnow.comparison.analysis import Comparison
from winnow.comparison.factor_analysis import FilterByFactor, LevelOutcome
from winnow.formatting import format_confidence, format_number
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.line_labels import LineEnd, label_lines
from winnow.reporting.plot_style import OTHER_STYLE, TEXT_COLOR, Style
from winnow.reporting.print_figures import COLUMN_WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

TEXT_SIZE: Final = 7.5
TICK_SIZE: Final = 7

MAX_FILTERS: Final = 4
"""The largest number of filters whose intervals are drawn. The other filters are drawn as gray lines."""

DODGE: Final = 0.11
"""The horizontal distance between the intervals of two filters at the same level, in units of the x axis."""


def draw_factor_effects(comparison: Comparison, styles: Mapping[str, Style], folder: Path | None) -> Figure | None:
    """Draw one panel per factor: the effect of each filter at each level, and the average over the levels."""
    if comparison.factors is None:
        return None
    panels = []
    for factor in comparison.factors.levels:
        effects = select_effects(comparison, factor)
        drawn = [effect for effect in effects if effect.average is not None]
        if drawn:
            panels.append(_build_panel(comparison, factor, drawn, styles))
    caption = (
        f"Difference from the baseline at each level, with {format_confidence(comparison.confidence)} intervals that "
        "hold jointly over the levels. Hollow marker: the average over the levels."
    )
    if len(comparison.filters_by_rank) > MAX_FILTERS:
        caption += (
            f" Intervals are drawn for {MAX_FILTERS} filters, those that may be the best first; gray: the others."
        )
    return render_figure("factors", caption, panels, folder)


def select_effects(comparison: Comparison, factor: str) -> list[FilterByFactor]:
    """Return the effects of the levels of a factor on the primary metric, best filter first."""
    order = {name: rank for rank, name in enumerate(comparison.filters_by_rank)}
    effects = comparison.factors.effects if comparison.factors else []
    selected = [e for e in effects if e.factor == factor and e.metric == comparison.primary_metric]
    return sorted(selected, key=lambda effect: order.get(effect.filter, len(order)))


def _build_panel(
    comparison: Comparison, factor: str, effects: Sequence[FilterByFactor], styles: Mapping[str, Style]
) -> Panel:
    metric, levels = comparison.primary, list(effects[0].levels)
    height = 2.15 + 0.12 * (len(effects) > 1) * min(len(effects), 2 * MAX_FILTERS) / 2

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        highlighted = effects[:MAX_FILTERS]
        for effect in effects[MAX_FILTERS:]:
            estimates = [outcome.estimate for outcome in effect.levels.values()]
            axes.plot(range(len(levels)), estimates, color=OTHER_STYLE.color, lw=0.7, alpha=OTHER_STYLE.alpha)
        ends = []
        for index, effect in enumerate(highlighted):
            shift = DODGE * (index - (len(highlighted) - 1) / 2)
            ends.append(_draw_filter(axes, effect, styles[effect.filter], shift))
        axes.axhline(0, color=TEXT_COLOR, lw=0.7)
        axes.set_xlim(-0.4, len(levels) + 0.4)
        axes.set_xticks(range(len(levels) + 1), [*levels, "average"], fontsize=TICK_SIZE)
        axes.tick_params(labelsize=TICK_SIZE, length=2, width=0.5)
        axes.grid(axis="x", visible=False)
        axes.set_xlabel(factor, fontsize=TEXT_SIZE)
        unit = f" ({metric.unit})" if metric.unit else ""
        axes.set_ylabel(f"difference from baseline{unit}", fontsize=TEXT_SIZE)
        name = effects[0].filter if len(effects) == 1 else "Filters"
        axes.set_title(f"{name}: {metric.label}", fontsize=8, loc="left", pad=4)
        if len(effects) > 1:
            label_lines(axes, ends, height - 0.75, TICK_SIZE)

    averages = [f"{e.filter} {format_number(e.average.estimate)}" for e in effects if e.average is not None]
    title = f"Effect on {metric.label} by {factor}, averages: {', '.join(averages)}"
    return Panel(title, draw, COLUMN_WIDTH, height)


def _draw_filter(axes: Axes, effect: FilterByFactor, style: Style, shift: float) -> LineEnd:
    """Draw the effects of one filter, shifted horizontally, and return the end of its line: the average."""
    outcomes = list(effect.levels.values())
    x = [position + shift for position in range(len(outcomes))]
    estimates = [outcome.estimate for outcome in outcomes]
    axes.plot(
        x, estimates, style.marker, ls=style.line, color=style.color, lw=1.1, ms=4.5, label=effect.filter, zorder=3
    )
    for position, outcome in zip(x, outcomes, strict=True):
        _draw_interval(axes, position, outcome, style)
    average, position = effect.average, len(outcomes) + shift
    if average is None:
        return LineEnd(effect.filter, x[-1], estimates[-1], style)
    _draw_interval(axes, position, average, style)
    axes.plot([position], [average.estimate], style.marker, color=style.color, mfc="white", ms=4.5, zorder=3)
    return LineEnd(effect.filter, position, average.estimate, style)


def _draw_interval(axes: Axes, position: float, outcome: LevelOutcome, style: Style) -> None:
    if math.isfinite(outcome.ci_low):
        axes.plot([position] * 2, [outcome.ci_low, outcome.ci_high], color=style.color, lw=1.0, zorder=2)
