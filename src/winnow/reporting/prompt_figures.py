"""Pictures of scores: over steps, and of every prompt under every model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.figures import GREY, Figure, Panel, Style, render

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import FigureBase

MOST_ROWS = 40
"""Prompts that a heat map shows; of more, those on which the models differ most."""


def draw_score_over_steps(
    curves: pd.DataFrame, metric: str, look: Mapping[str, Style], folder: Path, name: str = "log_odds"
) -> Figure | None:
    """Draw a score of each probe over steps, each arm's mean in a band of its seeds.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` and ``value``.
        metric: The score, as ``log_odds``.
        look: A style for each arm.
        folder: Where the files go.
        name: Name of the files.
    """
    found = curves[(curves["metric"] == metric) & curves["arm"].isin(list(look))]
    if found["step"].nunique() < 2:
        return None
    panels = [_curve(str(probe), part, metric, look) for probe, part in found.groupby("probe", sort=False)]
    caption = f"{metric.replace('_', ' ')} of each probe, from the base model (step 0) on; the band spans the seeds."
    return render(name, caption, panels, folder)


def _curve(probe: str, part: pd.DataFrame, metric: str, look: Mapping[str, Style]) -> Panel:
    from matplotlib.ticker import MaxNLocator

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for arm, style in look.items():
            seeds = part[part["arm"] == arm].pivot_table(index="step", columns="seed", values="value")
            if seeds.empty:
                continue
            axes.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=style.colour, alpha=0.16, lw=0)
            axes.plot(
                seeds.index, seeds.mean(axis=1), color=style.colour, ls=style.line, marker=style.marker, ms=4, label=arm
            )
        axes.axhline(0, color=GREY, lw=0.8)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step")
        axes.set_title(f"{metric.replace('_', ' ')}, {probe}")
        axes.legend()

    return Panel(f"{metric} of {probe} over steps", draw)


def draw_heat_map(
    scores: Mapping[str, Mapping[str, float]], models: Sequence[str], probe: str, metric: str, folder: Path
) -> Figure | None:
    """Draw a score of every prompt under every model as colours, purple above 0 and orange below.

    Args:
        scores: For each prompt the score of each model.
        models: The models, in the order of the columns.
        probe: What the prompts are called together.
        metric: What the score is called.
        folder: Where the files go.
    """
    prompts = [prompt for prompt, by_model in scores.items() if all(model in by_model for model in models)]
    if not prompts:
        return None
    values = np.array([[scores[prompt][model] for model in models] for prompt in prompts])
    if cut := len(prompts) > MOST_ROWS:
        chosen = np.sort(np.argsort(-np.ptp(values, axis=1), kind="stable")[:MOST_ROWS])
        prompts, values = [prompts[i] for i in chosen], values[chosen]
    order = np.argsort(-values.mean(axis=1), kind="stable")
    prompts, values = [prompts[i] for i in order], values[order]

    def draw(figure: FigureBase) -> None:
        axes: Any = figure.subplots()
        bound = max(float(np.abs(values).max()), 1e-9)
        image = axes.imshow(values, aspect="auto", cmap="PuOr", vmin=-bound, vmax=bound)
        for row, column in np.ndindex(values.shape):
            strong = abs(values[row, column]) > 0.6 * bound
            text = f"{values[row, column]:+.1f}".replace("-", "\N{MINUS SIGN}")
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if strong else "black")
        axes.set_xticks(range(len(models)), models, rotation=20, ha="right")
        axes.set_yticks(range(len(prompts)), [textwrap.fill(prompt, 72) for prompt in prompts], fontsize=7)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        figure.colorbar(image, ax=axes, label=metric.replace("_", " "), shrink=0.6)
        axes.set_title(probe)

    title = f"{metric} of each prompt of {probe} under each model"
    caption = f"{metric.replace('_', ' ')} of each prompt of {probe} under each model" + (
        f"; the {MOST_ROWS} of {len(scores)} prompts on which the models differ most." if cut else "."
    )
    width = 6.4 + 0.8 * len(models)
    return render(f"heat_map_{probe}", caption, [Panel(title, draw, width, 1.3 + 0.2 * len(prompts))], folder)
