"""Draw the effect of a filter against the fraction of rows that it keeps, and tabulate it.

The figure has the width of a column in a two-column paper (8.4 cm), so its text is 7 to 8 points when printed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.comparison.analysis import Comparison
from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.dose_response import DosePoint, DoseResponse
from winnow.formatting import format_confidence, format_interval, format_number
from winnow.metrics.metric_registry import Metric
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.plot_style import GRAY, ROLE_STYLES, TEXT_COLOR
from winnow.reporting.print_figures import COLUMN_WIDTH
from winnow.reporting.table_rendering import Table, build_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

TEXT_SIZE: Final = 7.5
TICK_SIZE: Final = 7

CONTROL_OFFSET: Final = 0.8
"""The horizontal distance between a dose and its control, in percentage points, so that both intervals are visible."""

FILTER_STYLE, CONTROL_STYLE = ROLE_STYLES["filter"], ROLE_STYLES["control"]


def draw_dose_responses(comparison: Comparison, folder: Path | None) -> Figure | None:
    """Draw one panel per dose series: the effect with a band, the control, the specificity and the cost."""
    caption = (
        f"Difference from the baseline against the fraction of training rows kept. The band contains the "
        f"{format_confidence(comparison.confidence)} intervals of all doses jointly. Filled markers: doses that cannot "
        "be distinguished from the best one. The dashed line shows random controls of the same size; their intervals "
        "may be cut off. Below: specificity and cost with the interval of each dose; the dotted line is the margin."
    )
    panels = [_build_panel(comparison, response) for response in comparison.doses]
    return render_figure("doses", caption, panels, folder)


def build_dose_table(comparison: Comparison) -> Table:
    """Return one row per dose with the fraction of rows kept, the effects, the specificity and the cost."""
    rows: list[dict[str, Any]] = [
        {"filter": response.filter, "setting": response.setting, **_flatten_point(point)}
        for response in comparison.doses
        for point in response.points
    ]
    columns = {
        "dose": [f"{row['filter']}[{row['setting']}={row['value']}]" for row in rows],
        "rows kept": [f"{row['fraction']:.1%}" for row in rows],
        "effect": [format_number(row["effect"]) for row in rows],
        "interval": [format_interval(row["effect_low"], row["effect_high"]) for row in rows],
        "minus control": [format_number(row["selection"]) for row in rows],
        "interval ": [format_interval(row["selection_low"], row["selection_high"]) for row in rows],
        "specificity": [format_number(row["specificity"]) for row in rows],
        "cost": [format_number(row["cost"]) for row in rows],
        "may be best": ["yes" if row["may_be_best"] else "no" for row in rows],
    }
    caption = f"Effect on {comparison.primary.label} by dose; intervals hold jointly over the doses."
    return build_table(rows, "doses", caption, columns)


def _flatten_point(point: DosePoint) -> dict[str, Any]:
    selection, specificity, cost = point.effect_of_selection, point.specificity, point.cost
    return {
        "value": point.value,
        "fraction": point.fraction,
        "effect": point.effect.estimate,
        "effect_low": point.effect.ci_low,
        "effect_high": point.effect.ci_high,
        "p_adjusted": point.effect.p_adjusted,
        "selection": selection.estimate if selection else None,
        "selection_low": selection.ci_low if selection else None,
        "selection_high": selection.ci_high if selection else None,
        "specificity": specificity.difference if specificity else None,
        "cost": cost.difference if cost else None,
        "may_be_best": point.may_be_best,
    }


def _build_panel(comparison: Comparison, response: DoseResponse) -> Panel:
    guard = comparison.metric(comparison.endpoints.cost.metric or comparison.primary_metric)
    specificity = comparison.endpoints.specificity.metric
    has_specificity = specificity is not None and any(point.specificity for point in response.points)
    has_cost = any(point.cost for point in response.points)

    def draw(figure: FigureBase) -> None:
        heights = [2.2, *([1.0] if has_specificity else []), *([1.0] if has_cost else [])]
        grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)
        axes = [row[0] for row in grid]
        _draw_effects(axes[0], comparison.primary, response)
        if has_specificity:
            _draw_contrasts(axes[1], response, [point.specificity for point in response.points], "specificity")
        if has_cost:
            _draw_contrasts(axes[-1], response, [point.cost for point in response.points], f"cost: {guard.label}")
            if margin := comparison.endpoints.cost.margin:
                signed_margin = margin if guard.direction != "higher" else -margin
                axes[-1].axhline(signed_margin, color=TEXT_COLOR, lw=0.9, ls=":")
        axes[-1].set_xlabel("training rows kept (%)", fontsize=TEXT_SIZE)
        for part in axes:
            part.tick_params(labelsize=TICK_SIZE, length=2, width=0.5)
            part.axhline(0, color=TEXT_COLOR, lw=0.7)

    height = 1.9 + 0.75 * (has_specificity + has_cost)
    return Panel(f"Effect of {response.filter} by fraction of rows kept", draw, COLUMN_WIDTH, height)


def _draw_effects(axes: Axes, metric: Metric, response: DoseResponse) -> None:
    style, points = FILTER_STYLE, response.points
    x = [100 * point.fraction for point in points]
    axes.fill_between(
        x,
        [point.effect.ci_low for point in points],
        [point.effect.ci_high for point in points],
        color=style.color,
        alpha=0.22,
        lw=0,
    )
    estimates = [point.effect.estimate for point in points]
    axes.plot(x, estimates, style.marker, ls="-", color=style.color, lw=1.3, ms=4.5, label=response.filter)
    for position, estimate, point in zip(x, estimates, points, strict=True):
        fill = style.color if point.may_be_best else "white"
        axes.plot([position], [estimate], style.marker, color=style.color, mfc=fill, ms=4.5)
    controls = [
        (100 * point.fraction + CONTROL_OFFSET, point.control_effect)
        for point in points
        if point.control_effect is not None
    ]
    if controls:
        positions, effects = zip(*controls, strict=True)
        errors = [[e.estimate - e.ci_low for e in effects], [e.ci_high - e.estimate for e in effects]]
        axes.errorbar(
            positions,
            [effect.estimate for effect in effects],
            errors,
            color=CONTROL_STYLE.color,
            marker=CONTROL_STYLE.marker,
            ms=4,
            lw=1.1,
            ls="--",
            elinewidth=0.8,
            label="random control",
        )
    low, high = _find_limits(points)
    axes.set_ylim(low, high)
    _set_title(axes, f"{metric.label}, difference from baseline")
    axes.legend(fontsize=TICK_SIZE, loc="best", handlelength=2.2, borderaxespad=0.2)


def _find_limits(points: Sequence[DosePoint]) -> tuple[float, float]:
    """Return the limits of the vertical axis, which contain the band and all estimates.

    With few seeds, the interval of a control can be many times as long. It is then cut off at the edge.
    """
    values = [0.0]
    for point in points:
        values += [point.effect.estimate, point.effect.ci_low, point.effect.ci_high]
        values += [point.control_effect.estimate] if point.control_effect is not None else []
    finite = [value for value in values if math.isfinite(value)]
    padding = 0.12 * (max(finite) - min(finite)) or 1.0
    return min(finite) - padding, max(finite) + padding


def _draw_contrasts(axes: Axes, response: DoseResponse, contrasts: Sequence[Contrast | None], label: str) -> None:
    drawn = [(100 * p.fraction, c) for p, c in zip(response.points, contrasts, strict=True) if c is not None]
    x = [position for position, _ in drawn]
    values = [contrast.difference for _, contrast in drawn]
    errors = [[c.difference - c.ci_low for _, c in drawn], [c.ci_high - c.difference for _, c in drawn]]
    axes.errorbar(x, values, errors, color=GRAY, marker="D", ms=3.2, lw=1, elinewidth=0.9)
    _set_title(axes, label)
    axes.locator_params(axis="y", nbins=4)


def _set_title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=TEXT_SIZE, fontweight="normal", loc="left", pad=3)
