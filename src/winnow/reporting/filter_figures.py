"""The pictures of a filter: its funnel, its reasons, how its terms overlap, its scores and its words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.formatting import NOTHING
from winnow.reporting.figures import GREY, INK, ROLES, Figure, Panel, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

KEPT, SHADE = ROLES["filter"].colour, ROLES["baseline"].colour
_WORDS = 15


def draw_filter_figures(
    summary: Mapping[str, Any], statistics: Mapping[str, Any], folder: Path | str | None = None
) -> dict[str, Figure]:
    """Draw every picture that there is data for, and return them by name.

    The names are ``funnel``, ``reasons``, ``overlap``, ``scores`` and ``words``.

    Args:
        summary: What :meth:`Verdicts.summary` gives, or ``summary.json``.
        statistics: What :func:`filter_statistics` gives, or ``statistics.json``.
        folder: Where the files go, made where it is not there; without one the figures are drawn for a page only.
    """
    folder = None if folder is None else Path(folder)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    drawn = [draw_funnel(summary, folder)]
    if statistics.get("reasons"):
        drawn.append(draw_reasons(list(statistics["terms"]), statistics["reasons"], folder))
    if len(statistics.get("overlap", {})) > 1:
        drawn.append(draw_overlap(statistics["overlap"], folder))
    if statistics.get("histograms"):
        drawn.append(draw_scores(statistics["histograms"], folder))
    if statistics["words"]["kept"] or statistics["words"]["dropped"]:
        drawn.append(draw_words(statistics["words"], folder))
    return {figure.name: figure for figure in drawn}


def draw_funnel(summary: Mapping[str, Any], folder: Path | None = None) -> Figure:
    """Draw how many train rows are left after each term."""
    stages = summary["funnel"]
    total = max(1, stages[0]["rows"])

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, stage in enumerate(stages):
            before = stages[max(0, row - 1)]["rows"]
            axes.barh(row, before, color=GREY, alpha=0.22, height=0.68)
            axes.barh(row, stage["rows"], color=KEPT, alpha=0.9, height=0.68)
            told = f"{stage['rows']:,}  {stage['rows'] / total:.0%}"
            _beside(axes, before, row, told)
        _named_rows(axes, [_short(stage["stage"]) for stage in stages])
        axes.set_xlim(0, total * 1.25)
        _bare(axes)

    caption = "Train rows left after each term, one after the other. Grey is what the term takes from the row above."
    panel = Panel("How many train rows each term leaves", draw, 4.7, 0.5 + 0.34 * len(stages))
    return render("funnel", caption, [panel], folder)


def draw_reasons(terms: Sequence[str], reasons: Sequence[Mapping[str, Any]], folder: Path | None = None) -> Figure:
    """Draw which terms together drop how many rows: a dot for each term that a row fails, a bar for the rows."""
    longest = max(entry["rows"] for entry in reasons)

    def draw(figure: FigureBase) -> None:
        dots, bars = figure.subplots(1, 2, sharey=True, width_ratios=[0.5 + 0.3 * len(terms), 3.0])
        for row, entry in enumerate(reasons):
            failed = [terms.index(term) for term in entry["terms"]]
            colour, alpha = (SHADE, 1.0) if len(failed) == 1 else (GREY, 0.75)
            dots.plot(range(len(terms)), [row] * len(terms), "o", color=GREY, alpha=0.22, ms=5, mew=0)
            dots.plot(failed, [row] * len(failed), "-o", color=INK, ms=5.5, lw=1.2, mew=0)
            bars.barh(row, entry["rows"], color=colour, alpha=alpha, height=0.66)
            _beside(bars, entry["rows"], row, f"{entry['rows']:,}")
        dots.set_xticks(range(len(terms)), [_short(term, 18) for term in terms], rotation=45, ha="left", va="bottom")
        dots.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=2)
        dots.set_xlim(-0.6, len(terms) - 0.4)
        dots.set_ylim(len(reasons) - 0.4, -0.6)
        bars.set_xlim(0, longest * 1.22)
        for axes in (dots, bars):
            _bare(axes)
            axes.tick_params(axis="y", length=0, labelleft=False)

    caption = (
        "Each line is a set of reasons: the dark dots are the terms that these rows fail, all of them together. "
        "Coloured bars are rows that a single term drops; a term without one drops nothing by itself."
    )
    panel = Panel("Which terms together drop how many rows", draw, 4.7, 1.25 + 0.27 * len(reasons))
    return render("reasons", caption, [panel], folder)


def draw_overlap(overlap: Mapping[str, Mapping[str, int]], folder: Path | None = None) -> Figure:
    """Draw for two terms at a time which share of the rows that one drops the other drops too."""
    terms = list(overlap)

    def draw(figure: FigureBase) -> None:
        from matplotlib.patches import Rectangle

        axes = figure.subplots()
        for row, one in enumerate(terms):
            drops = overlap[one][one]
            for column, other in enumerate(terms):
                if not drops or one == other:
                    told, share = ("" if drops else NOTHING), 0.0
                else:
                    share = overlap[one][other] / drops
                    told = f"{share:.0%}" if 0.005 <= share < 0.995 or share in (0, 1) else f"{share:.1%}"
                axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, color=SHADE, alpha=0.6 * share, lw=0))
                axes.text(column, row, told, ha="center", va="center", fontsize=8)
        axes.set_xticks(range(len(terms)), [_short(term, 18) for term in terms], rotation=45, ha="left", va="bottom")
        axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, pad=2)
        axes.set_xlim(-0.5, len(terms) - 0.5)
        _named_rows(axes, [_short(term) for term in terms])
        _bare(axes)

    caption = (
        "Of the rows that the term on the left drops, the share that the term on top drops too. A term whose rows "
        "another drops as well, 100% of them, could go without changing anything."
    )
    size = max(3.2, 1.5 + 0.52 * len(terms))
    return render("overlap", caption, [Panel("Overlap of the terms", draw, size + 0.4, 0.9 + 0.4 * len(terms))], folder)


def draw_scores(histograms: Mapping[str, Mapping[str, Any]], folder: Path | None = None) -> Figure:
    """Draw how each signal's scores are distributed among kept and dropped rows, with the cut."""
    panels = [_histogram(name, one) for name, one in histograms.items()]
    caption = (
        "Scores of the train rows: in colour those that the whole filter keeps, in grey on top those that it drops. "
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


def draw_words(words: Mapping[str, Any], folder: Path | None = None) -> Figure:
    """Draw the words that tell kept rows from dropped ones."""
    sides = {"kept": ("Commoner in what is kept", KEPT, 0.9), "dropped": ("Commoner in what is dropped", GREY, 0.55)}
    panels = [_words(title, words[side][:_WORDS], colour, alpha) for side, (title, colour, alpha) in sides.items()]
    caption = (
        "Log odds of each word in kept against dropped train rows, over its standard error, with a prior that makes "
        "rare words earn their place (Monroe, Colaresi and Quinn 2008). Beside each bar: how often the word stands "
        "among 1,000 words, kept against dropped."
    )
    return render("words", caption, [panel for panel in panels if panel], folder)


def _words(title: str, entries: Sequence[Mapping[str, Any]], colour: str, alpha: float) -> Panel | None:
    if not entries:
        return None

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for row, entry in enumerate(entries):
            axes.barh(row, abs(entry["z"]), color=colour, alpha=alpha, height=0.66)
            _beside(axes, abs(entry["z"]), row, f"{_rate(entry['kept'])} : {_rate(entry['dropped'])}")
        _named_rows(axes, [_short(entry["word"], 18) for entry in entries])
        axes.set_xlim(0, max(abs(entry["z"]) for entry in entries) * 1.35)
        _bare(axes)
        axes.set_title(title)

    return Panel(title, draw, 3.9, 0.55 + 0.24 * len(entries))


def _rate(share: float) -> str:
    return f"{share:.0f}" if share >= 9.95 or share == 0 else f"{share:.1f}"


def _beside(axes: Axes, x: float, row: float, text: str) -> None:
    axes.annotate(text, (x, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _named_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.6)
    axes.tick_params(axis="y", length=0)


def _bare(axes: Axes) -> None:
    """Take away what bars with their numbers beside them do not need."""
    axes.grid(visible=False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _short(text: str, most: int = 28) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
