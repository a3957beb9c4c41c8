"""Curves over training steps: each arm's mean over its seeds, in a band from the lowest to the highest seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.metrics.metric_names import TRAIN_LOSS, VALIDATION_LOSS
from winnow.reporting.figures import Figure, Panel, render
from winnow.reporting.style import GREY, Style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

Look = Mapping[str, Style]
"""The style of each arm; arms that are not in it are not drawn."""

SIZE = (4.2, 2.8)
"""Width and height of a panel in inches."""

BINS = 120
"""Points per curve; longer histories are averaged into as many equal ranges of steps."""

PHASES = {TRAIN_LOSS: "training", VALIDATION_LOSS: "validation"}


def draw_study_losses(study: CollectedStudy, look: Look, folder: Path | None) -> Figure | None:
    """Draw training and validation loss and perplexity of all arms, on axes that the arms share."""
    found = study.loss_curves
    panels = []
    for scale, table in _scales(found):
        limits = float(table["value"].min()), float(np.quantile(table["value"], 0.999))
        for metric, phase in PHASES.items():
            part = table[table["metric"] == metric]
            panels += step_panel(f"{phase.capitalize()} {scale}", part, look, log=scale == "perplexity", limits=limits)
    drawn = {arm: found.loc[found["arm"] == arm, "seed"].nunique() for arm in study.arms}
    first = [
        f"the first {n} of {len(study.get_cells(arm))} of {arm}"
        for arm, n in drawn.items()
        if n < len(study.get_cells(arm))
    ]
    seeds = f"seeds ({', '.join(first)})" if first else "seeds"
    caption = f"Mean over {seeds}; the band spans the lowest and the highest seed. All arms share the axes."
    return render("curves", caption, panels, folder)


def draw_losses(losses: pd.DataFrame, look: Look, folder: Path | None) -> Figure | None:
    """Draw training and validation loss of single models on one y axis, and the perplexity beside it on another.

    Args:
        losses: ``arm``, ``seed``, ``metric`` (``train/loss`` or ``validation/loss``), ``step`` and ``value`` in nats.
        look: The style of each model.
        folder: Where the files go.
    """
    named = losses.assign(arm=losses["arm"].astype(str) + ", " + losses["metric"].map(PHASES))
    lines: dict[str, Style] = {}
    for arm, style in look.items():
        lines |= {f"{arm}, training": replace(style, marker="", alpha=0.45), f"{arm}, validation": style}
    units = {"loss": "nats per masked token", "perplexity": "perplexity, on a logarithmic axis"}
    panels = [
        panel
        for scale, table in _scales(named)
        for panel in step_panel(scale, table, lines, log=scale == "perplexity", unit=units[scale])
    ]
    caption = "Loss and perplexity of all models over steps, each on one y axis; validation strong, training faint."
    return render("losses", caption, panels, folder)


def draw_study_probes(study: CollectedStudy, look: Look, folder: Path | None) -> Figure | None:
    """Draw the log odds of each probe during training, and the followed words that moved most."""
    found = study.probe_curves
    if found.empty:
        return None
    caption = (
        "Scores of the probes at each validation, from the base model (step 0) on: mean over seeds, in a band from the "
        "lowest to the highest seed."
    )
    panels = [*_score_panels(found, "log_odds", look), *_word_panels(found, look, most=2)]
    return render("probe_curves", caption, panels, folder)


def draw_scores_over_steps(
    curves: pd.DataFrame, look: Look, folder: Path | None, metric: str = "log_odds"
) -> Figure | None:
    """Draw a score of each probe over steps into ``METRIC_over_steps``.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` and ``value``.
        look: The style of each arm.
        folder: Where the files go.
        metric: The score, as ``log_odds``.
    """
    caption = f"{metric.replace('_', ' ')} of each probe, from the base model (step 0) on; the band spans the seeds."
    return render(f"{metric}_over_steps", caption, _score_panels(curves, metric, look), folder)


def draw_followed_words(
    curves: pd.DataFrame, probe: str, look: Look, folder: Path | None, words: Sequence[str] = ()
) -> Figure | None:
    """Draw how the probability of words changed during training, wanted words first, then unwanted ones.

    Args:
        curves: ``arm``, ``seed``, ``step``, ``probe``, ``metric`` (``probability``), ``value``, ``role`` and ``word``.
        probe: Whose prompts.
        look: The style of each arm.
        folder: Where the files go.
        words: Words to draw; if empty, the four of each role that moved most.
    """
    panels = _word_panels(curves[curves["probe"] == probe], look, 4, words, (3.3, 2.4))
    caption = f"Mean probability of words over the prompts of {probe} and over seeds, from the base model (step 0) on."
    return render("followed_words", caption, panels, folder, columns=4)


def _scales(losses: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    if not losses.empty:
        yield "loss", losses
        yield "perplexity", losses.assign(value=np.exp(losses["value"]))


def _score_panels(curves: pd.DataFrame, metric: str, look: Look) -> list[Panel]:
    found = curves[(curves["metric"] == metric) & curves["arm"].isin(list(look))]
    name = metric.replace("_", " ")
    parts = found.groupby("probe", sort=False, observed=True)
    return [panel for probe, part in parts for panel in step_panel(f"{name}, {probe}", part, look, zero=True)]


def _word_panels(
    curves: pd.DataFrame, look: Look, most: int, words: Sequence[str] = (), size: tuple[float, float] = SIZE
) -> list[Panel]:
    """Return a panel per followed word: the given words, or in each role the words that moved most in any arm."""
    if "role" not in curves:
        return []
    found = curves[(curves["metric"] == "probability") & curves["arm"].isin(list(look))]
    panels: list[Panel] = []
    for role in ("wanted", "unwanted"):
        part = found[found["role"] == role]
        keys = ["probe", "word"]
        means = part.groupby([*keys, "arm", "step"], observed=True)["value"].mean()
        reach = np.log(means).groupby(level=[*keys, "arm"], observed=True).agg(np.ptp)
        moved = reach.groupby(level=keys, observed=True).max().nlargest(len(reach) if words else most)
        for probe, word in moved.index:
            if not words or word in words:
                values = part[(part["probe"] == probe) & (part["word"] == word)]
                title = f"{word} ({role}), {probe}"
                panels += step_panel(title, values, look, log=True, unit="probability", size=size)
    return panels


def step_panel(
    title: str,
    table: pd.DataFrame,
    look: Look,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    unit: str = "",
    zero: bool = False,
    size: tuple[float, float] = SIZE,
) -> list[Panel]:
    """Return one panel with a curve per arm, or no panel if there are fewer than two steps.

    Args:
        title: Title of the panel.
        table: ``arm``, ``seed``, ``step`` and ``value``.
        look: The style of each arm.
        log: Whether the y axis is logarithmic.
        limits: The lowest and the highest value on the y axis; by default those of the table.
        unit: Label of the y axis.
        zero: Whether to mark 0.
        size: Width and height in inches.
    """
    if table["step"].nunique() < 2:
        return []
    low, high = limits or (float(table["value"].min()), float(table["value"].max()))

    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for arm, style in look.items():
            seeds = _by_seed(table[table["arm"] == arm])
            if seeds.empty:
                continue
            steps, every = seeds.index.to_numpy(), max(1, len(seeds) // 6)
            if seeds.shape[1] > 1:
                axes.fill_between(steps, seeds.min(axis=1), seeds.max(axis=1), color=style.color, alpha=0.16, lw=0)
            line: dict[str, Any] = {"color": style.color, "ls": style.line, "marker": style.marker, "label": arm}
            axes.plot(steps, seeds.mean(axis=1), ms=4, markevery=every, alpha=style.alpha, **line)
        if zero:
            axes.axhline(0, color=GREY, lw=0.8)
        _set_y_axis(axes, low, high, log)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.set_title(title)
        axes.legend(fontsize=8 if size >= SIZE and len(look) < 4 else 6.5)

    return [Panel(f"{title} over steps", draw, *size)]


def _by_seed(part: pd.DataFrame) -> pd.DataFrame:
    """Return a table of steps x seeds, averaged into ranges of steps if the history is long."""
    width = math.ceil(part["step"].max() / BINS) if part["step"].nunique() > BINS else 1
    middle = part["step"] if width == 1 else (part["step"] // width) * width + width // 2
    return part.assign(step=middle).pivot_table(index="step", columns="seed", values="value", aggfunc="mean")


def _set_y_axis(axes: Axes, low: float, high: float, log: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if not log:
        room = 0.04 * (high - low) or 0.1
        axes.set_ylim(low - room, high + room)
        return
    axes.set_yscale("log")
    axes.set_ylim(low * 0.97, high * 1.03)
    # Within one decade, round logarithms would leave an axis with one tick or none.
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
