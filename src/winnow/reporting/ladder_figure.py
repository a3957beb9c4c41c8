"""Draw the effect of each filter against the training compute, and tabulate the rungs of a ladder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.factor_analysis import FilterByFactor, LevelOutcome
from winnow.comparison.ladder import Ladder, format_flops
from winnow.formatting import format_confidence, format_interval, format_number
from winnow.reporting.figure_rendering import Figure, Panel, render_figure, set_heading
from winnow.reporting.plot_style import TEXT_COLOR, Style
from winnow.reporting.table_rendering import Table, build_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

LABEL_SIZE = 7


def draw_ladder(comparison: Comparison, styles: dict[str, Style], folder: Path | None) -> Figure | None:
    """Draw one panel per filter: the effect by compute with a band, and the effect of the random control."""
    ladder = comparison.ladder
    if ladder is None:
        return None
    caption = (
        f"Difference from the baseline against the training compute of a run. The band contains the "
        f"{format_confidence(comparison.confidence)} intervals of all rungs jointly. The dashed line is the random "
        "control."
    )
    panels = [_build_panel(comparison, ladder, effect, styles) for effect in ladder.effects if effect.levels]
    return render_figure("ladder", caption, panels, folder)


def build_ladder_table(comparison: Comparison) -> Table:
    """Return one row per filter and rung, with the compute, the effect and the decision accuracy."""
    ladder = comparison.ladder
    rows: list[dict[str, Any]] = []
    for effect in ladder.effects if ladder else ():
        for rung in ladder.rungs if ladder else ():
            if outcome := effect.levels.get(rung.level):
                rows.append({
                    "filter": effect.filter, "level": rung.level, "flops": rung.flops, "seconds": rung.seconds,
                    "effect": outcome.estimate, "ci_low": outcome.ci_low, "ci_high": outcome.ci_high,
                    "p_adjusted": outcome.p_adjusted, "decision_accuracy": rung.decision_accuracy,
                })  # fmt: skip
    columns = {
        "filter": [row["filter"] for row in rows],
        "rung": [row["level"] for row in rows],
        "compute": [format_flops(row["flops"]) for row in rows],
        "effect": [format_number(row["effect"]) for row in rows],
        "interval": [format_interval(row["ci_low"], row["ci_high"]) for row in rows],
        "decision accuracy": [f"{row['decision_accuracy']:.0%}" for row in rows],
    }
    caption = "Difference between each filter and the baseline by training compute, adjusted over the rungs."
    return build_table(rows, "ladder", caption, columns)


def _build_panel(comparison: Comparison, ladder: Ladder, effect: FilterByFactor, styles: dict[str, Style]) -> Panel:
    metric = comparison.primary
    control = ladder.controls.get(effect.filter)

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        outcomes = [effect.levels[rung.level] for rung in ladder.rungs]
        flops = [rung.flops for rung in ladder.rungs]
        low, high = [o.ci_low for o in outcomes], [o.ci_high for o in outcomes]
        axes.fill_between(flops, low, high, color=styles[effect.filter].color, alpha=0.22, lw=0)
        _draw_line(axes, flops, outcomes, styles[effect.filter], "-", effect.filter)
        if control is not None and control.levels:
            control_outcomes = [control.levels[rung.level] for rung in ladder.rungs]
            _draw_line(axes, flops, control_outcomes, styles[control.filter], "--", control.filter)
        axes.axhline(0, color=TEXT_COLOR, lw=0.9)
        axes.set_xscale("log")
        axes.set_xticks(flops, [format_flops(value).removesuffix(" FLOPs") for value in flops])
        axes.minorticks_off()
        for rung, top in zip(ladder.rungs, high, strict=True):
            text = rung.level.replace("model=", "")
            axes.annotate(text, (rung.flops, top), (0, 4), textcoords="offset points", ha="center", fontsize=LABEL_SIZE)
        axes.margins(x=0.12, y=0.15)
        axes.set_xlabel("training compute (FLOPs)")
        axes.set_ylabel(f"difference ({metric.unit})" if metric.unit else "difference")
        axes.legend(fontsize=LABEL_SIZE, loc="best")
        set_heading(figure, f"{metric.label} by training compute")

    return Panel(f"Effect of {effect.filter} on {metric.label} by training compute", draw, 4.6, 3.2)


def _draw_line(
    axes: Axes, flops: list[float], outcomes: list[LevelOutcome], style: Style, line: str, label: str
) -> None:
    estimates = [outcome.estimate for outcome in outcomes]
    axes.plot(flops, estimates, style.marker, ls=line, color=style.color, lw=1.3, ms=5, label=label)
