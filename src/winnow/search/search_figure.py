"""Draw the trials of a search: scores by trial, the Pareto front of two objectives, and scores by searched key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.reporting.figure_rendering import Figure, Panel, render_figure, set_heading
from winnow.reporting.plot_style import GRAY, ROLE_STYLES
from winnow.search.objective import Objective
from winnow.search.search_result import SearchResult
from winnow.search.trial_store import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

MAX_LABEL_CHARACTERS = 28

LOGARITHMIC_RATIO = 20
"""The axis of a key is logarithmic if the ratio of the largest to the smallest value is larger than this number."""

STYLE = ROLE_STYLES["filter"]


def draw_search(result: SearchResult, folder: Path | None = None) -> Figure | None:
    """Draw the scores by trial, the Pareto front, and the scores by the value of each searched key."""
    complete = result.complete
    if not complete:
        return None
    scores = [result.compute_mean(trial) for trial in complete]
    panels = [_build_history_panel(result, scores)]
    caption = f"Mean {result.target.metric} on validation data. The gray line is the best score so far."
    if pruned := [trial for trial in result.trials if trial.state == "pruned"]:
        panels.append(_build_curve_panel(result, pruned))
        caption += " Curves: the first seed of each trial; dashed: pruned trials."
    if result.cost is not None:
        panels.append(_build_front_panel(result, result.cost))
        caption += (
            f" The gray steps are the Pareto front of {result.target.metric} and {result.cost.metric}; its trials are "
            "filled. The star is the trial to confirm."
        )
        if result.cost_margin is not None:
            caption += " The dotted line is the cost margin."
    for key in find_varied_keys(result):
        panels.append(_build_key_panel(key, [trial.params[key] for trial in complete], scores, result.target))
    return render_figure("search", caption, panels, folder)


def find_varied_keys(result: SearchResult) -> list[str]:
    """Return the keys that have several values in the trials."""
    keys = dict.fromkeys(key for trial in result.trials for key in trial.params)
    return [key for key in keys if len({trial.params.get(key) for trial in result.trials}) > 1]


def _build_history_panel(result: SearchResult, scores: Sequence[float]) -> Panel:
    def draw(figure: FigureBase) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        numbers = [trial.number + 1 for trial in result.complete]
        accumulate = np.maximum.accumulate if result.target.maximize else np.minimum.accumulate
        axes.plot(numbers, accumulate(scores), color=GRAY, lw=1.1, drawstyle="steps-post")
        axes.plot(numbers, scores, STYLE.marker, color=STYLE.color, ms=5)
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(result.target.score_name)
        set_heading(figure, "Scores of all trials")

    return Panel("Scores of all trials", draw)


def _build_curve_panel(result: SearchResult, pruned: Sequence[Trial]) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        for trial in (*result.complete, *pruned):
            is_pruned = trial.state == "pruned"
            color, line = (GRAY, "--") if is_pruned else (STYLE.color, "-")
            steps = sorted(trial.curve)
            axes.plot(steps, [trial.curve[step] for step in steps], line, color=color, lw=1.1, alpha=0.7)
            if is_pruned:
                axes.plot([steps[-1]], [trial.curve[steps[-1]]], "x", color=color, ms=5)
        axes.set_xlabel("training step")
        axes.set_ylabel(result.target.score_name)
        set_heading(figure, "Validation curves and pruned trials")

    return Panel("Validation curves and pruned trials", draw)


def _build_front_panel(result: SearchResult, cost: Objective) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        front = sorted(result.pareto_front, key=lambda trial: result.compute_mean(trial, 1))
        x, y = ([result.compute_mean(trial, objective) for trial in front] for objective in (1, 0))
        axes.plot(x, y, color=GRAY, lw=1.1, drawstyle="steps-pre" if cost.maximize else "steps-post")
        for trial in result.complete:
            fill = STYLE.color if trial in front else "white"
            _mark_trial(axes, result, trial, STYLE.marker, fill)
        if result.cost_margin is not None:
            best = (max if cost.maximize else min)(result.compute_mean(trial, 1) for trial in result.complete)
            axes.axvline(best - cost.sign * result.cost_margin, color=GRAY, lw=1, ls=":")
        if result.winner is not None:
            axes.plot(
                [result.compute_mean(result.winner, 1)], [result.compute_mean(result.winner)], "*", color="black", ms=11
            )
        axes.margins(0.12)
        axes.set_xlabel(cost.metric)
        axes.set_ylabel(result.target.score_name)
        set_heading(figure, "Target and cost")

    return Panel("Target and cost", draw)


def _mark_trial(axes: Axes, result: SearchResult, trial: Trial, marker: str, fill: str) -> None:
    position = (result.compute_mean(trial, 1), result.compute_mean(trial))
    axes.plot([position[0]], [position[1]], marker, color=STYLE.color, mfc=fill, ms=5)
    axes.annotate(str(trial.number + 1), position, textcoords="offset points", xytext=(4, 4), fontsize=7)


def _build_key_panel(key: str, values: list[Any], scores: list[float], objective: Objective) -> Panel:
    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        if numbers := _parse_numbers(values):
            axes.plot(numbers, scores, STYLE.marker, color=STYLE.color, ms=5)
            if min(numbers) > 0 and max(numbers) / min(numbers) > LOGARITHMIC_RATIO:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")  # the default uses mathematical markup, which is disabled
            axes.set_xlabel(key)
            axes.set_ylabel(objective.score_name)
        else:
            texts = [str(value).strip("'") for value in values]
            choices = list(dict.fromkeys(texts))
            axes.plot(scores, [choices.index(text) for text in texts], STYLE.marker, color=STYLE.color, ms=5)
            labels = [
                text if len(text) <= MAX_LABEL_CHARACTERS else f"{text[:MAX_LABEL_CHARACTERS]}…" for text in choices
            ]
            axes.set_yticks(range(len(choices)), labels)
            axes.set_ylim(-0.5, len(choices) - 0.5)
            axes.set_xlabel(objective.score_name)
        set_heading(figure, key)

    return Panel(key, draw)


def _parse_numbers(values: Sequence[Any]) -> list[float]:
    """Return the values as numbers, or an empty list if any is not a number. The items of a list are stored as text."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []
