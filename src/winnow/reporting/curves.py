"""The curves of a study: losses and probes over steps, each arm's mean in a band of its seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.comparison.collected_study import Study
from winnow.reporting.figures import Figure, Panel, Style, render

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

BINS = 120
"""Points a curve is drawn with; longer histories are averaged into as many equal stretches of steps."""

WORDS = 4
"""Followed words that are drawn."""


def draw_curves(study: Study, look: dict[str, Style], folder: Path | None) -> Figure | None:
    """Draw training and validation loss and perplexity of all arms, on axes that the arms share."""
    found = study.histories
    if found.empty:
        return None
    panels = []
    for scale in ("loss", "perplexity"):
        values = found["value"] if scale == "loss" else np.exp(found["value"])
        table = found.assign(value=values)
        limits = float(values.min()), float(np.quantile(values, 0.999))
        for metric in ("train/loss", "validation/loss"):
            part = table[table["metric"] == metric]
            if not part.empty:
                phase = "Training" if metric.startswith("train") else "Validation"
                panels.append(_curve(part, f"{phase} {scale}", scale == "perplexity", limits, look))
    drawn = {arm: found.loc[found["arm"] == arm, "seed"].nunique() for arm in study.arms}
    first = [f"the first {n} of {len(study.of(arm))} of {arm}" for arm, n in drawn.items() if n < len(study.of(arm))]
    seeds = f"seeds ({', '.join(first)})" if first else "seeds"
    caption = f"Mean over {seeds}; the band spans the lowest and the highest seed. All arms share the axes."
    return render("curves", caption, panels, folder)


def draw_probe_curves(study: Study, look: dict[str, Style], folder: Path | None) -> Figure | None:
    """Draw what each probe said during training: its log odds, and the words that were followed."""
    found = study.curves
    if found.empty:
        return None
    panels = []
    odds = found[found["metric"] == "log_odds"]
    for probe, part in odds.groupby("probe", observed=True):
        values = part["value"]
        limits = float(values.min()), float(values.max())
        panels.append(_curve(part, f"Log odds on {probe}", False, limits, look))
    panels += _words(found[found["metric"] == "probability"], look)
    caption = (
        "What the probes said at each validation, from before the first step on: mean over seeds, in a band from the "
        "lowest to the highest seed."
    )
    return render("probe_curves", caption, panels, folder) if panels else None


def _words(found: pd.DataFrame, look: dict[str, Style]) -> list[Panel]:
    """Return one panel a followed word, the words that moved most first."""
    if found.empty or "word" not in found:
        return []
    last = found[found["step"] == found["step"].max()]
    means = last.groupby(["probe", "word", "arm"], observed=True)["value"].mean().unstack()
    apart = (means.max(axis=1) - means.min(axis=1)).sort_values(ascending=False)
    panels = []
    for probe, word in apart.index[:WORDS]:
        part = found[(found["probe"] == probe) & (found["word"] == word)]
        limits = 0.0, float(part["value"].max())
        panels.append(_curve(part, f"Probability of {word} on {probe}", False, limits, look))
    return panels


def _curve(
    part: pd.DataFrame, title: str, logarithmic: bool, limits: tuple[float, float], look: dict[str, Style]
) -> Panel:
    from matplotlib.ticker import MaxNLocator

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for arm, style in look.items():
            seeds = _stretches(part[part["arm"] == arm])
            if seeds is None:
                continue
            mean = seeds.mean(axis=1)
            axes.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=style.colour, alpha=0.16, lw=0)
            axes.plot(
                seeds.index,
                mean,
                color=style.colour,
                ls=style.line,
                label=arm,
                marker=style.marker,
                ms=4,
                markevery=max(1, len(mean) // 6),
            )
        if logarithmic:
            axes.set_yscale("log")
            _plain_log(axes)
            axes.set_ylim(limits[0] * 0.97, limits[1] * 1.03)
        else:
            room = 0.04 * (limits[1] - limits[0]) or 0.1
            axes.set_ylim(limits[0] - room, limits[1] + room)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step")
        axes.set_title(title)
        axes.legend(fontsize=8 if len(look) < 5 else 6)

    return Panel(f"{title} of each arm over steps", draw)


def _stretches(part: pd.DataFrame) -> pd.DataFrame | None:
    """Return a table of steps x seeds, averaged into stretches where the history is long."""
    if part.empty:
        return None
    width = max(1, math.ceil(part["step"].max() / BINS)) if part["step"].nunique() > BINS else 1
    middle = part["step"] if width == 1 else (part["step"] // width) * width + width // 2
    return part.assign(step=middle).pivot_table(index="step", columns="seed", values="value", aggfunc="mean")


def _plain_log(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
