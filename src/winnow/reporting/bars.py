"""Horizontal bars: ranked words, the fills of prompts, and the funnel of a filter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.reporting.figures import Figure, Panel, heading, name_rows, render
from winnow.reporting.style import GREY, ROLES, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Ranked = Sequence[tuple[str, float]]
"""Words with their probabilities, or other names with their values, in the order of the rows."""

Fills = Mapping[str, Mapping[str, Ranked]]
"""The ranked words of each model, by prompt."""


def ranked_bars(
    axes: Axes,
    ranked: Ranked,
    color: str | Sequence[str],
    alpha: float | None = None,
    notes: Sequence[str] = (),
    hatched: Collection[str] = (),
) -> None:
    """Draw a bar per name, the first at the top.

    Args:
        axes: Where to draw.
        ranked: Names and values.
        color: Color of the bars, or of each bar.
        alpha: Opacity of the bars.
        notes: Text beside each bar, which then replaces the x axis.
        hatched: Names with hatched bars.
    """
    values = [value for _, value in ranked]
    bars = axes.barh(range(len(ranked)), values, 0.7, color=color, alpha=alpha, lw=0)
    for (name, _), bar in zip(ranked, bars, strict=True):
        if name in hatched:
            bar.set(facecolor="none", edgecolor=color, lw=0.8, hatch="////")
    name_rows(axes, [shortened(name) for name, _ in ranked])
    if notes:
        for row, (value, note) in enumerate(zip(values, notes, strict=True)):
            axes.annotate(note, (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_xlim(0, 1.3 * max(values) or 1)
        remove_frame(axes)


def remove_frame(axes: Axes) -> None:
    """Remove grid, spines and x axis, which rows with their numbers beside them do not need."""
    axes.grid(visible=False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def shortened(text: str, most: int = 28) -> str:
    """Return a text cut to a length, with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def draw_funnel(stages: Sequence[Mapping[str, Any]], name: str, folder: Path | None) -> Figure | None:
    """Draw how many training rows remain after each term of a filter.

    Args:
        stages: ``stage`` and ``rows``, from all training rows on.
        name: Name of the filter.
        folder: Where the files go.
    """
    if not stages:
        return None
    total = max(1, stages[0]["rows"])
    before = [stages[max(0, row - 1)]["rows"] for row in range(len(stages))]
    names = [str(stage["stage"]) for stage in stages]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        notes = [f"{stage['rows']:,}  ({stage['rows'] / total:.0%})" for stage in stages]
        ranked_bars(axes, list(zip(names, before, strict=True)), GREY, 0.22, notes)
        axes.barh(range(len(stages)), [stage["rows"] for stage in stages], 0.7, color=ROLES["filter"].color)

    caption = f"Training rows left after each term of {name}, in order. Grey: rows that the term removes."
    return render("funnel", caption, [Panel(f"Funnel of {name}", draw, 4.7, 0.5 + 0.34 * len(stages))], folder)


def draw_top_fills(
    fills: Fills, look: Mapping[str, Style], folder: Path | None, most: int = 10, name: str = "top_fills"
) -> Figure | None:
    """Draw the most likely words of each prompt, the models above one another on one axis.

    Args:
        fills: Ranked words by prompt and model.
        look: The style of each model; models are drawn in its order.
        folder: Where the files go.
        most: Words per model.
        name: Name of the files.
    """
    panels = [
        _fill_panel(f"Top {most} fills of: {prompt}", prompt, {one: [by_model[one][:most]] for one in look}, look)
        for prompt, by_model in fills.items()
    ]
    caption = f"The {most} most likely fills of each prompt; hatched bars are words that no other model has there."
    return render(name, caption, panels, folder, columns=3)


def draw_best_and_worst(fills: Fills, look: Mapping[str, Style], folder: Path | None, most: int = 10) -> Figure | None:
    """Draw the first and the last words of a long ranking for each prompt, the models above one another.

    The last words have an axis of their own, since they are a thousand times less likely.

    Args:
        fills: Long rankings by prompt and model, as the first 1,000 words.
        look: The style of each model.
        folder: Where the files go.
        most: Words from either end.
    """
    depth = max((len(ranked) for by_model in fills.values() for ranked in by_model.values()), default=0)
    panels = [
        _fill_panel(
            f"The {most} best and the {most} worst fills of: {prompt}",
            prompt,
            {name: [by_model[name][:most], by_model[name][-most:]] for name in look},
            look,
        )
        for prompt, by_model in fills.items()
    ]
    caption = f"The {most} best (left) and the {most} worst (right) of the first {depth:,} fills of each prompt."
    return render("best_and_worst", caption, panels, folder)


def _fill_panel(title: str, prompt: str, parts: Mapping[str, Sequence[Ranked]], look: Mapping[str, Style]) -> Panel:
    """Return a panel with a row of charts per model: its best words and, where given, its worst."""
    from matplotlib.ticker import MaxNLocator

    ends = max(map(len, parts.values()))
    words = {name: {word for word, _ in best} for name, (best, *_) in parts.items()}

    def draw(figure: FigureBase) -> None:
        grid = figure.subplots(len(parts), ends, squeeze=False, sharex="col")
        for row, (name, charts) in enumerate(parts.items()):
            shared = set().union(*(found for other, found in words.items() if other != name))
            for axes, ranked, end in zip(grid[row], charts, ("best", "worst"), strict=False):
                hatched = words[name] - shared if end == "best" else ()
                ranked_bars(axes, ranked, look[name].color, hatched=hatched)
                axes.set_title(f"{name}: {end}" if ends > 1 else name, fontsize=8.5)
                axes.xaxis.set_major_locator(MaxNLocator(4))
                axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=False)
        for axes in grid[-1]:
            axes.set_xlabel("probability")
        heading(figure, prompt, 38 * ends, lines=2)

    rows = max(len(charts[0]) for charts in parts.values())
    return Panel(title, draw, 3.6 * ends, 0.7 + len(parts) * (0.42 + 0.19 * rows))
