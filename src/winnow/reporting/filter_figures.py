"""Draw the figures of a filter: funnel, reasons, overlap of terms, scores and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.formatting import MISSING_VALUE
from winnow.reporting.bar_charts import draw_funnel, draw_ranked_bars, remove_frame, shorten
from winnow.reporting.figure_rendering import Figure, Panel, label_rows, render_figure
from winnow.reporting.plot_style import GRAY, ROLE_STYLES, TEXT_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

KEPT_COLOR, OVERLAP_COLOR = ROLE_STYLES["filter"].color, ROLE_STYLES["baseline"].color
_MAX_WORDS = 15


def draw_filter_figures(
    summary: Mapping[str, Any], statistics: Mapping[str, Any], folder: Path | str | None = None
) -> dict[str, Figure]:
    """Draw all figures for which there is data and return them by name.

    The names are ``funnel``, ``reasons``, ``overlap``, ``scores`` and ``words``.

    Args:
        summary: Result of :meth:`Verdicts.summary`, or the content of ``summary.json``.
        statistics: Result of :func:`compute_filter_statistics`, or the content of ``statistics.json``.
        folder: Output folder, created if missing. If `None`, no files are written.
    """
    folder = None if folder is None else Path(folder)
    figures = [
        draw_funnel(summary["funnel"], summary["filter"], folder),
        draw_reasons(list(statistics["terms"]), statistics.get("reasons", ()), folder),
        draw_overlap(statistics.get("overlap", {}), folder),
        draw_scores(statistics.get("histograms", {}), folder, list(statistics["terms"])),
        draw_words(statistics["words"], folder),
    ]
    return {figure.name: figure for figure in figures if figure}


def draw_reasons(
    terms: Sequence[str], reasons: Sequence[Mapping[str, Any]], folder: Path | None = None
) -> Figure | None:
    """Draw how many rows each combination of terms drops: dots for the failed terms and a bar for the row count."""
    if not reasons:
        return None

    def draw(figure: FigureBase) -> None:
        dots, bars = figure.subplots(1, 2, sharey=True, width_ratios=[0.5 + 0.3 * len(terms), 3.0])
        for row, entry in enumerate(reasons):
            failed_columns = [terms.index(term) for term in entry["terms"]]
            dots.plot(range(len(terms)), [row] * len(terms), "o", color=GRAY, alpha=0.22, ms=5, mew=0)
            dots.plot(failed_columns, [row] * len(failed_columns), "-o", color=TEXT_COLOR, ms=5.5, lw=1.2, mew=0)
        colors = [OVERLAP_COLOR if len(entry["terms"]) == 1 else GRAY for entry in reasons]
        counts = [entry["rows"] for entry in reasons]
        draw_ranked_bars(bars, [("", count) for count in counts], colors, notes=[f"{count:,}" for count in counts])
        _label_columns(dots, terms)

    caption = (
        "Each line is one combination of terms: the highlighted dots mark the terms that drop these training rows. "
        "The bar shows the number of rows. It is colored if only one term drops them."
    )
    panel = Panel("Number of rows dropped by each combination of terms", draw, 4.7, 1.25 + 0.27 * len(reasons))
    return render_figure("reasons", caption, [panel], folder)


def draw_overlap(overlap: Mapping[str, Mapping[str, int]], folder: Path | None = None) -> Figure | None:
    """Draw, for each pair of terms, the fraction of the rows dropped by one term that the other term also drops."""
    terms = list(overlap)
    if len(terms) < 2:
        return None

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, term in enumerate(terms):
            dropped_count = overlap[term][term]
            for column, other_term in enumerate(terms):
                if not dropped_count or term == other_term:
                    text, fraction = ("" if dropped_count else MISSING_VALUE), 0.0
                else:
                    fraction = overlap[term][other_term] / dropped_count
                    text = f"{fraction:.0%}" if 0.005 <= fraction < 0.995 or fraction in (0, 1) else f"{fraction:.1%}"
                axes.barh(row, 0.96, 0.92, column - 0.48, color=OVERLAP_COLOR, alpha=0.6 * fraction, lw=0)
                axes.text(column, row, text, ha="center", va="center", fontsize=8)
        label_rows(axes, [shorten(term) for term in terms])
        _label_columns(axes, terms)

    caption = (
        "Each cell is the percentage of the rows dropped by the term on the left that the term at the top also drops. "
        "A term with 100% anywhere in its row can be removed without any effect."
    )
    size = max(3.2, 1.5 + 0.52 * len(terms))
    return render_figure(
        "overlap", caption, [Panel("Overlap between terms", draw, size + 0.4, 0.9 + 0.4 * len(terms))], folder
    )


def draw_scores(
    histograms: Mapping[str, Mapping[str, Any]], folder: Path | None = None, terms: Sequence[str] = ()
) -> Figure | None:
    """Draw the distribution of each signal's scores in kept and dropped rows, with the thresholds.

    Args:
        histograms: The histogram of each signal.
        folder: Output folder. If `None`, no files are written.
        terms: The terms of the expression. A term that starts with ~ keeps the rows that fail its signal.
    """
    panels = [
        _draw_histogram(name, histogram, is_negated=f"~{name}" in terms and name not in terms)
        for name, histogram in histograms.items()
    ]
    caption = (
        "Stacked histograms of the training rows' scores. Color: kept rows. Gray: dropped rows. The "
        "dashed line is the signal's threshold, and its arrow points to the scores with which the term keeps a row. A "
        "term that starts with ~ keeps the rows that fail its signal."
    )
    return render_figure("scores", caption, panels, folder)


def _draw_histogram(name: str, histogram: Mapping[str, Any], is_negated: bool) -> Panel:
    edges = np.array(histogram["edges"])
    kept_counts, dropped_counts = np.array(histogram["kept"]), np.array(histogram["dropped"])

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

        axes = figure.subplots()
        width = np.diff(edges) * (0.82 if histogram["whole"] and len(kept_counts) < 20 else 0.96)
        centers = (edges[1:] + edges[:-1]) / 2
        axes.bar(centers, kept_counts, width, color=KEPT_COLOR, alpha=0.9, label="kept")
        axes.bar(centers, dropped_counts, width, bottom=kept_counts, color=GRAY, alpha=0.4, label="dropped")
        top = max(1, (kept_counts + dropped_counts).max()) * 1.2
        for cut in histogram["cuts"]:
            axes.axvline(cut["at"], color=TEXT_COLOR, lw=1.1, ls=(0, (4, 3)))
            if cut["pass_above"] is not None:
                sign = 1 if cut["pass_above"] != is_negated else -1
                length = 0.09 * (edges[-1] - edges[0]) * sign
                axes.annotate("", (cut["at"] + length, 0.94 * top), (cut["at"], 0.94 * top), arrowprops=_ARROW_STYLE)
        axes.set_ylim(0, top)
        low, high = [edges[0], edges[-1]] if not histogram["cuts"] else _expand_limits(edges, histogram["cuts"])
        axes.set_xlim(low, high)
        if histogram["whole"]:
            axes.xaxis.set_major_locator(
                MaxNLocator(8, integer=True) if len(kept_counts) > 1 else FixedLocator(centers)
            )
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(axis="x", visible=False)
        axes.set_title(f"~{name}" if is_negated else name)
        axes.set_ylabel("training rows")
        notes = [
            f"{histogram[key]:,} {description}" for key, description in _OMITTED_ROW_LABELS.items() if histogram[key]
        ]
        axes.set_xlabel("score" + (f"  ({'; '.join(notes)})" if notes else ""))

    return Panel(f"Scores of {name}", draw, 3.7, 2.3)


_ARROW_STYLE = {"arrowstyle": "-|>", "color": TEXT_COLOR, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
_OMITTED_ROW_LABELS = {"outside": "outside the axis", "null": "without a score"}


def _expand_limits(edges: Any, cuts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    thresholds = [cut["at"] for cut in cuts]
    margin = 0.1 * (edges[-1] - edges[0])
    return min(edges[0], min(thresholds) - margin), max(edges[-1], max(thresholds) + margin)


def draw_words(words: Mapping[str, Any], folder: Path | None = None) -> Figure | None:
    """Draw the words that distinguish kept rows from dropped rows."""
    bar_styles = {"kept": (KEPT_COLOR, 0.9), "dropped": (GRAY, 0.55)}
    panels = [
        _build_word_panel(f"More common in {group} rows", words[group][:_MAX_WORDS], *style)
        for group, style in bar_styles.items()
        if words[group]
    ]
    caption = (
        "Log odds of each word in kept versus dropped training rows, divided by their standard error, with a prior "
        "that shrinks the estimates of rare words (Monroe, Colaresi and Quinn 2008). The numbers next to each bar "
        "are the occurrences per 1,000 words in kept and in dropped rows."
    )
    return render_figure("words", caption, panels, folder)


def _build_word_panel(title: str, entries: Sequence[Mapping[str, Any]], color: str, alpha: float) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        notes = [f"{_format_rate(entry['kept'])} : {_format_rate(entry['dropped'])}" for entry in entries]
        draw_ranked_bars(axes, [(entry["word"], abs(entry["z"])) for entry in entries], color, alpha, notes)
        axes.set_title(title)

    return Panel(title, draw, 3.9, 0.55 + 0.24 * len(entries))


def _format_rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 9.95 or rate == 0 else f"{rate:.1f}"


def _label_columns(axes: Axes, terms: Sequence[str]) -> None:
    """Label the columns of a chart along its top edge."""
    labels = [shorten(term, 18) for term in terms]
    axes.set_xticks(range(len(terms)), labels, rotation=45, ha="left", va="bottom")
    remove_frame(axes)
    axes.tick_params(top=True, labeltop=True, length=0, pad=2)
    axes.set_xlim(-0.6, len(terms) - 0.4)
