"""Pictures of what models put at a mask: the likeliest words, and the best and worst of many."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.figures import INK, Figure, Panel, Style, render

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

Ranked = Sequence[tuple[str, float]]
Fills = Mapping[str, Mapping[str, Ranked]]
"""For each prompt the ranked words of each model, each with its probability."""


def draw_top_fills(fills: Fills, look: Mapping[str, Style], folder: Path, most: int = 10) -> Figure | None:
    """Draw the likeliest words at each prompt, the models above one another on one axis.

    Args:
        fills: Ranked words by prompt and model.
        look: A style for each model; models are drawn in its order.
        folder: Where the files go.
        most: Words of each model.
    """
    panels = [
        _panel(f"Top {most} fills of: {prompt}", prompt, {name: (by_model[name][:most], None) for name in look}, look)
        for prompt, by_model in fills.items()
    ]
    caption = f"The {most} likeliest fills of each prompt; hatched bars are words no other model has there."
    return render("top_fills", caption, panels, folder, columns=3) if panels else None


def draw_best_and_worst(fills: Fills, look: Mapping[str, Style], folder: Path, most: int = 10) -> Figure | None:
    """Draw the first and the last words of a long ranking at each prompt, the models above one another.

    Each model has two rows of bars, each on an axis of its own, since the last are a thousand times less likely.

    Args:
        fills: Long rankings by prompt and model, as the first 1,000 words.
        look: A style for each model.
        folder: Where the files go.
        most: Words from either end.
    """
    panels = [
        _panel(
            f"The {most} best and the {most} worst of {max(len(by_model[name]) for name in look):,} fills of: {prompt}",
            prompt,
            {name: (by_model[name][:most], by_model[name][-most:]) for name in look},
            look,
        )
        for prompt, by_model in fills.items()
    ]
    depth = max((len(ranked) for by_model in fills.values() for ranked in by_model.values()), default=0)
    caption = f"The {most} best (left) and the {most} worst (right) of the first {depth:,} fills of each prompt."
    return render("best_and_worst", caption, panels, folder, columns=2) if panels else None


def _panel(
    title: str, prompt: str, parts: Mapping[str, tuple[Ranked, Ranked | None]], look: Mapping[str, Style]
) -> Panel:
    two = any(worst is not None for _, worst in parts.values())

    def draw(figure: FigureBase) -> None:
        grid = figure.subplots(len(parts), 2 if two else 1, squeeze=False, sharex="col")
        for row, (name, (best, worst)) in enumerate(parts.items()):
            others = {word for other, (words, _) in parts.items() if other != name for word, _ in words}
            draw_bars(grid[row][0], best, look[name], others, f"{name}: best" if two else name)
            if worst is not None:
                draw_bars(grid[row][1], worst, look[name], None, f"{name}: worst")
        for axes in grid[-1]:
            axes.set_xlabel("probability")
        figure.suptitle(
            "\n".join(textwrap.wrap(prompt, 80 if two else 38)), x=0.02, ha="left", fontsize=9.5, fontweight="bold"
        )

    rows = max(len(best) for best, _ in parts.values())
    return Panel(title, draw, 7.2 if two else 3.6, 0.6 + len(parts) * (0.42 + 0.19 * rows))


def draw_bars(axes: Any, ranked: Ranked, style: Style, others: set[str] | None, title: str) -> None:
    """Draw ranked words as bars; words that are not among `others`, where these are given, are hatched."""
    from matplotlib.ticker import MaxNLocator

    for row, (word, share) in enumerate(ranked):
        alone = others is not None and word not in others
        axes.barh(
            row,
            share,
            color="none" if alone else style.colour,
            edgecolor=style.colour,
            lw=0.8,
            hatch="////" if alone else None,
            height=0.72,
        )
    axes.set_yticks(np.arange(len(ranked)), [word for word, _ in ranked])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="y", visible=False)
    axes.set_title(title, fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=False)
