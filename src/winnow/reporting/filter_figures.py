"""The figures of a filter: its funnel, its reasons, how its terms overlap, its scores and its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.formatting import NOTHING
from winnow.reporting.bars import draw_funnel, ranked_bars, remove_frame, shortened
from winnow.reporting.figures import Figure, Panel, name_rows, render
from winnow.reporting.style import GREY, INK, ROLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

KEPT, SHADE = ROLES["filter"].color, ROLES["baseline"].color
_WORDS = 15


def draw_filter_figures(
    summary: Mapping[str, Any], statistics: Mapping[str, Any], folder: Path | str | None = None
) -> dict[str, Figure]:
    """Draw every figure that there is data for, and return them by name.

    The names are ``funnel``, ``reasons``, ``overlap``, ``scores`` and ``words``.

    Args:
        summary: What :meth:`Verdicts.summary` returns, or ``summary.json``.
        statistics: What :func:`compute_filter_statistics` returns, or ``statistics.json``.
        folder: Where the files go, created if missing; without one the figures are drawn for a page only.
    """
    folder = None if folder is None else Path(folder)
    drawn = [
        draw_funnel(summary["funnel"], summary["filter"], folder),
        draw_reasons(list(statistics["terms"]), statistics.get("reasons", ()), folder),
        draw_overlap(statistics.get("overlap", {}), folder),
        draw_scores(statistics.get("histograms", {}), folder),
        draw_words(statistics["words"], folder),
    ]
    return {figure.name: figure for figure in drawn if figure}


def draw_reasons(
    terms: Sequence[str], reasons: Sequence[Mapping[str, Any]], folder: Path | None = None
) -> Figure | None:
    """Draw which terms together drop how many rows: a dot for each term that a row fails, a bar for the rows."""
    if not reasons:
        return None

    def draw(figure: FigureBase) -> None:
        dots, bars = figure.subplots(1, 2, sharey=True, width_ratios=[0.5 + 0.3 * len(terms), 3.0])
        for row, entry in enumerate(reasons):
            failed = [terms.index(term) for term in entry["terms"]]
            dots.plot(range(len(terms)), [row] * len(terms), "o", color=GREY, alpha=0.22, ms=5, mew=0)
            dots.plot(failed, [row] * len(failed), "-o", color=INK, ms=5.5, lw=1.2, mew=0)
        colors = [SHADE if len(entry["terms"]) == 1 else GREY for entry in reasons]
        counts = [entry["rows"] for entry in reasons]
        ranked_bars(bars, [("", count) for count in counts], colors, notes=[f"{count:,}" for count in counts])
        _name_columns(dots, terms)

    caption = (
        "Each line is a set of reasons: the dark dots are the terms that these rows fail, all of them together. "
        "Colored bars are rows that a single term drops; a term without one drops nothing by itself."
    )
    panel = Panel("Which terms together drop how many rows", draw, 4.7, 1.25 + 0.27 * len(reasons))
    return render("reasons", caption, [panel], folder)


def draw_overlap(overlap: Mapping[str, Mapping[str, int]], folder: Path | None = None) -> Figure | None:
    """Draw for each pair of terms which share of the rows that one drops the other drops too."""
    terms = list(overlap)
    if len(terms) < 2:
        return None

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, one in enumerate(terms):
            drops = overlap[one][one]
            for column, other in enumerate(terms):
                if not drops or one == other:
                    text, share = ("" if drops else NOTHING), 0.0
                else:
                    share = overlap[one][other] / drops
                    text = f"{share:.0%}" if 0.005 <= share < 0.995 or share in (0, 1) else f"{share:.1%}"
                axes.barh(row, 0.96, 0.92, column - 0.48, color=SHADE, alpha=0.6 * share, lw=0)
                axes.text(column, row, text, ha="center", va="center", fontsize=8)
        name_rows(axes, [shortened(term) for term in terms])
        _name_columns(axes, terms)

    caption = (
        "Of the rows that the term on the left drops, the share that the term on top drops too. A term whose rows "
        "another drops as well, 100% of them, can be removed without changing anything."
    )
    size = max(3.2, 1.5 + 0.52 * len(terms))
    return render("overlap", caption, [Panel("Overlap of the terms", draw, size + 0.4, 0.9 + 0.4 * len(terms))], folder)


def draw_scores(histograms: Mapping[str, Mapping[str, Any]], folder: Path | None = None) -> Figure | None:
    """Draw how each signal's scores are distributed among kept and dropped rows, with the cut."""
    panels = [_histogram(name, one) for name, one in histograms.items()]
    caption = (
        "Scores of the training rows: in color those that the whole filter keeps, in gray on top those that it drops. "
        "The dashed line is where the signal's verdict changes; its arrow points to the scores that pass."
    )
    return render("scores", caption, panels, folder)


def _histogram(name: str, found: Mapping[str, Any]) -> Panel:
    edges = np.array(found["edges"])
    kept, dropped = np.array(found["kept"]), np.array(found["dropped"])

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

        axes = figure.subplots()
        width = np.diff(edges) * (0.82 if found["whole"] and len(kept) < 20 else 0.96)
        middle = (edges[1:] + edges[:-1]) / 2
        axes.bar(middle, kept, width, color=KEPT, alpha=0.9, label="kept")
        axes.bar(middle, dropped, width, bottom=kept, color=GREY, alpha=0.4, label="dropped")
        top = max(1, (kept + dropped).max()) * 1.2
        for cut in found["cuts"]:
            axes.axvline(cut["at"], color=INK, lw=1.1, ls=(0, (4, 3)))
            if cut["pass_above"] is not None:
                towards = 1 if cut["pass_above"] else -1
                reach = 0.09 * (edges[-1] - edges[0]) * towards
                axes.annotate("", (cut["at"] + reach, 0.94 * top), (cut["at"], 0.94 * top), arrowprops=_ARROW)
        axes.set_ylim(0, top)
        low, high = [edges[0], edges[-1]] if not found["cuts"] else _around(edges, found["cuts"])
        axes.set_xlim(low, high)
        if found["whole"]:
            axes.xaxis.set_major_locator(MaxNLocator(8, integer=True) if len(kept) > 1 else FixedLocator(middle))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(axis="x", visible=False)
        axes.set_title(name)
        axes.set_ylabel("rows")
        notes = [f"{found[key]:,} {told}" for key, told in _NOTES.items() if found[key]]
        axes.set_xlabel("score" + (f"  ({'; '.join(notes)})" if notes else ""))

    return Panel(f"Scores of {name}", draw, 3.7, 2.3)


_ARROW = {"arrowstyle": "-|>", "color": INK, "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
_NOTES = {"outside": "beyond the edge", "null": "without a score"}


def _around(edges: Any, cuts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    places = [cut["at"] for cut in cuts]
    margin = 0.1 * (edges[-1] - edges[0])
    return min(edges[0], min(places) - margin), max(edges[-1], max(places) + margin)


def draw_words(words: Mapping[str, Any], folder: Path | None = None) -> Figure | None:
    """Draw the words that distinguish kept rows from dropped ones."""
    sides = {"kept": (KEPT, 0.9), "dropped": (GREY, 0.55)}
    panels = [
        _word_panel(f"More common in {side} rows", words[side][:_WORDS], *look)
        for side, look in sides.items()
        if words[side]
    ]
    caption = (
        "Log odds of each word in kept against dropped training rows, over its standard error, with a prior that "
        "shrinks rare words (Monroe, Colaresi and Quinn 2008). Beside each bar: occurrences per 1,000 words, kept : "
        "dropped."
    )
    return render("words", caption, panels, folder)


def _word_panel(title: str, entries: Sequence[Mapping[str, Any]], color: str, alpha: float) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        notes = [f"{_rate(entry['kept'])} : {_rate(entry['dropped'])}" for entry in entries]
        ranked_bars(axes, [(entry["word"], abs(entry["z"])) for entry in entries], color, alpha, notes)
        axes.set_title(title)

    return Panel(title, draw, 3.9, 0.55 + 0.24 * len(entries))


def _rate(share: float) -> str:
    return f"{share:.0f}" if share >= 9.95 or share == 0 else f"{share:.1f}"


def _name_columns(axes: Axes, terms: Sequence[str]) -> None:
    """Label the columns of a chart at the top."""
    labels = [shortened(term, 18) for term in terms]
    axes.set_xticks(range(len(terms)), labels, rotation=45, ha="left", va="bottom")
    remove_frame(axes)
    axes.tick_params(top=True, labeltop=True, length=0, pad=2)
    axes.set_xlim(-0.6, len(terms) - 0.4)
