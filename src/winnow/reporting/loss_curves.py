"""Pictures of losses over steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from winnow.formatting import number
from winnow.reporting.figures import Figure, Panel, Style, render

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import FigureBase


def draw_losses(losses: pd.DataFrame, look: Mapping[str, Style], folder: Path) -> Figure | None:
    """Draw training and validation loss of models over steps on one y axis, and the perplexity beside them on another.

    Args:
        losses: ``arm``, ``metric`` (``train/loss`` or ``validation/loss``), ``step`` and ``value`` in nats.
        look: A style for each model.
        folder: Where the files go.
    """
    if losses.empty:
        return None
    panels = [_panel(losses, scale, look) for scale in ("loss", "perplexity")]
    caption = "Loss and perplexity of all models over steps, each on one y axis; validation strong, training faint."
    return render("losses", caption, panels, folder)


def _panel(losses: pd.DataFrame, scale: str, look: Mapping[str, Style]) -> Panel:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for arm, style in look.items():
            for metric, strong in (("train/loss", False), ("validation/loss", True)):
                part = losses[(losses["arm"] == arm) & (losses["metric"] == metric)].sort_values("step")
                if part.empty:
                    continue
                values = part["value"] if scale == "loss" else np.exp(part["value"])
                axes.plot(
                    part["step"],
                    values,
                    color=style.colour,
                    ls=style.line,
                    marker=style.marker if strong else None,
                    ms=4.5,
                    lw=1.8 if strong else 1,
                    alpha=1 if strong else 0.45,
                    label=f"{arm}, {metric.partition('/')[0]}",
                )
        if scale == "perplexity":
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, 1)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel("nats a masked token" if scale == "loss" else "perplexity, on a logarithmic axis")
        axes.set_title(scale)
        axes.legend(fontsize=7)

    return Panel(f"{scale} of each model over steps", draw, 4.4, 3.2)
