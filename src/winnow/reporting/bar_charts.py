"""Draw horizontal bar charts: ranked words, predictions for prompts, and the funnel of a filter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.reporting.figure_rendering import Figure, Panel, label_rows, render_figure, set_heading
from winnow.reporting.plot_style import GRAY, ROLE_STYLES, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

RankedValues = Sequence[tuple[str, float]]
"""Words with their probabilities, or other names with their values, in ranking order."""

FillRankings = Mapping[str, Mapping[str, RankedValues]]
"""Ranked words by prompt and model."""


def draw_ranked_bars(
    axes: Axes,
    ranked_values: RankedValues,
    color: str | Sequence[str],
    alpha: float | None = None,
    notes: Sequence[str] = (),
    hatched_names: Collection[str] = (),
) -> None:
    """Draw one bar per name, from top to bottom.

    Args:
        axes: Axes to draw on.
        ranked_values: Names and values.
        color: One color for all bars or one per bar.
        alpha: Opacity of the bars.
        notes: Text next to each bar. If there are notes, the x axis is hidden.
        hatched_names: Names whose bars are hatched.
    """
    values = [value for _, value in ranked_values]
    bars = axes.barh(range(len(ranked_values)), values, 0.7, color=color, alpha=alpha, lw=0)
    for (name, _), bar in zip(ranked_values, bars, strict=True):
        if name in hatched_names:
            bar.set(facecolor="none", edgecolor=color, lw=0.8, hatch="////")
    label_rows(axes, [shorten(name) for name, _ in ranked_values])
    if notes:
        for row, (value, note) in enumerate(zip(values, notes, strict=True)):
            axes.annotate(note, (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_xlim(0, 1.3 * max(values) or 1)
        remove_frame(axes)


def remove_frame(axes: Axes) -> None:
    """Remove the grid, the spines and the x axis."""
    axes.grid(visible=False)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)


def shorten(text: str, max_length: int = 28) -> str:
    """Truncate a text to a maximum length, ending with an ellipsis."""
    return text if len(text) <= max_length else f"{text[: max_length - 1]}…"


def draw_funnel(stages: Sequence[Mapping[str, Any]], name: str, folder: Path | None) -> Figure | None:
    """Draw how many training rows remain after each term of a filter.

    Args:
        stages: ``stage`` and ``rows`` of each stage, starting with all training rows.
        name: Name of the filter.
        folder: Output folder, or `None` to write no files.
    """
    if not stages:
        return None
    total = max(1, stages[0]["rows"])
    previous = [stages[max(0, row - 1)]["rows"] for row in range(len(stages))]
    names = [str(stage["stage"]) for stage in stages]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        notes = [f"{stage['rows']:,}  ({stage['rows'] / total:.0%})" for stage in stages]
        draw_ranked_bars(axes, list(zip(names, previous, strict=True)), GRAY, 0.22, notes)
        axes.barh(range(len(stages)), [stage["rows"] for stage in stages], 0.7, color=ROLE_STYLES["filter"].color)

    kept = ", ".join(f"{stage['stage']} {stage['rows']:,}" for stage in stages)
    title = f"Training rows remaining after each term of {name}: {kept}"
    caption = f"Training rows remaining after each term of {name}, in order. Gray: rows that the term drops."
    return render_figure("funnel", caption, [Panel(title, draw, 4.7, 0.5 + 0.34 * len(stages))], folder)


def draw_top_fills(
    fills: FillRankings, styles: Mapping[str, Style], folder: Path | None, max_words: int = 10, name: str = "top_fills"
) -> Figure | None:
    """Draw the most likely words for each prompt, with one chart per model above a shared x axis.

    Args:
        fills: Ranked words by prompt and model.
        styles: Style of each model, in drawing order.
        folder: Output folder, or `None` to write no files.
        max_words: Number of words per model.
        name: Name of the files.
    """
    panels = [
        _build_fill_panel(
            f"Top {max_words} words: {prompt}",
            prompt,
            {model: [by_model[model][:max_words]] for model in styles},
            styles,
        )
        for prompt, by_model in fills.items()
    ]
    caption = f"The {max_words} most likely words for each prompt. Hatched words are in the list of only one model."
    return render_figure(name, caption, panels, folder, columns=3)


def draw_best_and_worst(
    fills: FillRankings, styles: Mapping[str, Style], folder: Path | None, max_words: int = 10
) -> Figure | None:
    """Draw the highest- and lowest-ranked words for each prompt, with one row of charts per model.

    The lowest-ranked words have a separate axis because their probabilities are about a thousand times smaller.

    Args:
        fills: Long rankings by prompt and model, such as the first 1,000 words.
        styles: Style of each model.
        folder: Output folder, or `None` to write no files.
        max_words: Number of words to draw from each end of a ranking.
    """
    depth = max((len(ranked_values) for by_model in fills.values() for ranked_values in by_model.values()), default=0)
    panels = [
        _build_fill_panel(
            f"The {max_words} highest and {max_words} lowest ranked words: {prompt}",
            prompt,
            {model: [by_model[model][:max_words], by_model[model][-max_words:]] for model in styles},
            styles,
        )
        for prompt, by_model in fills.items()
    ]
    caption = f"The {max_words} highest (left) and lowest (right) of the {depth:,} top-ranked words for each prompt."
    return render_figure("best_and_worst", caption, panels, folder)


def _build_fill_panel(
    title: str, prompt: str, rankings: Mapping[str, Sequence[RankedValues]], styles: Mapping[str, Style]
) -> Panel:
    """Return a panel with one row of charts per model: its top words and, if given, its bottom words."""
    from matplotlib.ticker import MaxNLocator

    chart_count = max(map(len, rankings.values()))
    words = {name: {word for word, _ in top} for name, (top, *_) in rankings.items()}

    def draw(figure: FigureBase) -> None:
        grid = figure.subplots(len(rankings), chart_count, squeeze=False, sharex="col")
        for row, (name, charts) in enumerate(rankings.items()):
            other_words = set().union(*(model_words for other, model_words in words.items() if other != name))
            for axes, ranked_values, end in zip(grid[row], charts, ("highest", "lowest"), strict=False):
                hatched_names = words[name] - other_words if end == "highest" else ()
                draw_ranked_bars(axes, ranked_values, styles[name].color, hatched_names=hatched_names)
                axes.set_title(f"{name}: {end}" if chart_count > 1 else name, fontsize=8.5, y=1)
                axes.xaxis.set_major_locator(MaxNLocator(4))
                axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=False)
        for axes in grid[-1]:
            axes.set_xlabel("probability")
        set_heading(figure, prompt, 38 * chart_count, lines=2)

    rows = max(len(charts[0]) for charts in rankings.values())
    return Panel(title, draw, 3.6 * chart_count, 0.7 + len(rankings) * (0.42 + 0.19 * rows))
