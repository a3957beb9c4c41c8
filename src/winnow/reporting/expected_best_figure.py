"""Draw and tabulate the expected score of the best of n training runs (Tang et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.analysis import Comparison
from winnow.comparison.selected_levels import LevelSelection
from winnow.formatting import format_confidence, format_interval, format_number
from winnow.reporting.factor_figure import MAX_FILTERS, TEXT_SIZE, TICK_SIZE
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.line_labels import LineEnd, label_lines
from winnow.reporting.plot_style import OTHER_STYLE, Style
from winnow.reporting.print_figures import COLUMN_WIDTH
from winnow.reporting.table_rendering import Table, build_table

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

MIN_RUNS = 2
"""The smallest number of runs per search for which the figure is drawn."""


def draw_expected_best(comparison: Comparison, styles: Mapping[str, Style], folder: Path | None) -> Figure | None:
    """Draw the expected test score of the best of 1, 2, ... runs of each arm; ``None`` if no level was selected."""
    selection = _find_curves(comparison)
    banded = [
        *comparison.filters_by_rank[:MAX_FILTERS],
        *(n for n, a in comparison.arms.items() if a.role == "baseline"),
    ]
    metric = comparison.primary
    height = 2.1 + 0.06 * len(selection)

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        ends = []
        for arm, entry in selection.items():
            style, runs = styles[arm], range(1, len(entry.expected_best) + 1)
            axes.plot(
                runs,
                entry.expected_best,
                marker=style.marker,
                ls=style.line,
                color=style.color,
                alpha=style.alpha,
                lw=1.2,
                ms=4,
                label=arm,
            )
            if entry.expected_best_low and arm in banded:
                axes.fill_between(
                    runs, entry.expected_best_low, entry.expected_best_high, color=style.color, alpha=0.13, lw=0
                )
            if style != OTHER_STYLE:
                ends.append(LineEnd(arm, runs[-1], entry.expected_best[-1], style))
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.tick_params(labelsize=TICK_SIZE, length=2, width=0.5)
        axes.set_xlabel("number of trials (runs per search)", fontsize=TEXT_SIZE)
        axes.set_title(f"expected best {metric.axis_label}", fontsize=8, loc="left", pad=4)
        label_lines(axes, ends, height - 0.7, TICK_SIZE)

    caption = (
        f"Expected {metric.label} on test data of the best of n runs, selected on validation data: the unbiased "
        "estimator of Tang et al. (2020), averaged over the seeds, each of which is one search. Bands: "
        f"{format_confidence(comparison.confidence)} intervals over the seeds for the baseline and "
        f"{'the filter' if len(comparison.filters_by_rank) == 1 else 'the best filters'}."
    )
    bests = [f"{arm} {format_number(entry.expected_best[-1])}" for arm, entry in selection.items()]
    title = f"Expected {metric.label} of the best run by number of trials, with all trials: {', '.join(bests)}"
    return render_figure(
        "expected_best", caption, [Panel(title, draw, COLUMN_WIDTH, height)] if selection else [], folder
    )


def build_expected_best_table(comparison: Comparison) -> Table:
    """Return one row per arm and number of trials with the expected test score of the best run."""
    rows: list[dict[str, Any]] = []
    for arm, entry in _find_curves(comparison).items():
        for index, score in enumerate(entry.expected_best):
            low = entry.expected_best_low[index] if entry.expected_best_low else float("nan")
            high = entry.expected_best_high[index] if entry.expected_best_high else float("nan")
            rows.append({"arm": arm, "trials": index + 1, "expected_best": score, "ci_low": low, "ci_high": high})
    columns = {
        "arm": [row["arm"] for row in rows],
        "trials": [str(row["trials"]) for row in rows],
        "expected best": [format_number(row["expected_best"]) for row in rows],
        "interval": [format_interval(row["ci_low"], row["ci_high"]) for row in rows],
    }
    caption = f"Expected {comparison.primary.label} on test data of the best of n runs, selected on validation data."
    return build_table(rows, "expected_best", caption, columns)


def _find_curves(comparison: Comparison) -> dict[str, LevelSelection]:
    selection = comparison.factors.selection if comparison.factors else {}
    return {arm: entry for arm, entry in selection.items() if len(entry.expected_best) >= MIN_RUNS}
