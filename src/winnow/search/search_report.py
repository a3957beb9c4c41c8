"""Write the trials of a search as a table, a figure and JSON, together with the result of the confirmation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from winnow.formatting import format_number
from winnow.reporting.figure_rendering import Figure, Panel, render_figure
from winnow.reporting.plot_style import GRAY, ROLE_STYLES
from winnow.reporting.table_rendering import Table, build_table
from winnow.search.search_runner import SearchResult

if TYPE_CHECKING:
    from matplotlib.figure import FigureBase

MAX_LABEL_CHARACTERS = 28

LOGARITHMIC_RATIO = 20
"""The axis of a key is logarithmic if the ratio of the largest to the smallest value is larger than this number."""


def write_search_report(result: SearchResult, comparison: Mapping[str, Any] | None) -> Path:
    """Write ``report.md``, ``search.json``, the table of trials and the figure, and return the path of the report."""
    table = build_trial_table(result)
    table.save(result.folder)
    figure = draw_search(result, result.folder)
    content = {
        "study": result.study,
        "objective": result.objective,
        "trials": [
            {
                "number": trial.number,
                "settings": trial.overrides,
                "state": trial.state,
                "score": result.compute_mean(trial) if result.scores.get(trial.number) else None,
                "scores": {str(seed): score for seed, score in result.scores.get(trial.number, {}).items()},
            }
            for trial in result.trials
        ],
        "winner": None if result.winner is None else result.winner.number,
        "optimism": None if comparison is None else comparison.get("search"),
        "verdict": None if comparison is None else comparison["verdict"]["sentence"],
    }
    (result.folder / "search.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    lines = [f"# Search {result.study}", "", *describe_search(result, comparison), "", table.to_markdown()]
    if figure is not None:
        lines += [f"![{figure.caption}](search.svg)", ""]
    report = result.folder / "report.md"
    report.write_text("\n".join(lines), encoding="utf-8")
    return report


def describe_search(result: SearchResult, comparison: Mapping[str, Any] | None) -> list[str]:
    """Return the result of a search as sentences."""
    failed = sum(trial.state == "failed" for trial in result.trials)
    counts = f"{len(result.trials)} trials" + (f", of which {failed} failed" if failed else "")
    if result.winner is None:
        return [f"{counts}. No trial is complete, so there are no settings to confirm."]
    sentences = [
        f"{counts}. Best settings (trial {result.winner.number + 1}): {', '.join(result.winner.overrides)}. "
        f"{result.objective} on validation data: {format_number(result.compute_mean(result.winner))} "
        f"({_describe_seeds(len(result.scores[result.winner.number]))}). "
        "This score is optimistic, because it is the best of many."
    ]
    if comparison is None:
        return [*sentences, "The settings have not been confirmed on test data."]
    sentences.append(f"Confirmed with fresh seeds on test data: {comparison['verdict']['sentence']}")
    if search := comparison.get("search"):
        sentences.append(str(search["sentence"]))
    return sentences


def _describe_seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"mean of {count} seeds"


def build_trial_table(result: SearchResult) -> Table:
    """Return the table of trials, best first."""
    sign = 1 if result.maximize else -1
    complete = [trial for trial in result.trials if result.scores.get(trial.number)]
    complete.sort(key=lambda trial: -sign * result.compute_mean(trial))
    others = [trial for trial in result.trials if trial not in complete]
    varied_keys = find_varied_keys(result)
    rows = []
    for trial in [*complete, *others]:
        scores = list(result.scores.get(trial.number, {}).values())
        settings = dict(text.split("=", 1) for text in trial.overrides if text.partition("=")[0] in varied_keys)
        rows.append(
            {
                "trial": trial.number + 1,
                "score": result.compute_mean(trial),
                "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
                "seeds": len(scores),
                "state": trial.state,
                **{key: value.strip("'") for key, value in settings.items()},
            }
        )
    return build_table(rows, "trials", f"Trials of the search, sorted by {result.objective} on validation data.")


def draw_search(result: SearchResult, folder: Path | None = None) -> Figure | None:
    """Draw the scores by trial, and by the value of each searched key."""
    complete = [trial for trial in result.trials if result.scores.get(trial.number)]
    if not complete:
        return None
    scores = [result.compute_mean(trial) for trial in complete]
    style = ROLE_STYLES["filter"]

    def draw_history(figure: FigureBase) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        numbers = [trial.number + 1 for trial in complete]
        accumulate = np.maximum.accumulate if result.maximize else np.minimum.accumulate
        axes.plot(numbers, accumulate(scores), color=GRAY, lw=1.1, drawstyle="steps-post")
        axes.plot(numbers, scores, style.marker, color=style.color, ms=5)
        axes.set_xlabel("trial")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(result.objective.rpartition("/")[2])

    panels = [Panel("Scores of all trials", draw_history)]
    for key in find_varied_keys(result):
        panels.append(_build_key_panel(key, [trial.params[key] for trial in complete], scores, result.objective))
    caption = f"Mean {result.objective} on validation data. The gray line is the best score so far."
    return render_figure("search", caption, panels, folder)


def find_varied_keys(result: SearchResult) -> list[str]:
    """Return the keys that have several values in the trials."""
    keys = dict.fromkeys(key for trial in result.trials for key in trial.params)
    return [key for key in keys if len({trial.params.get(key) for trial in result.trials}) > 1]


def _build_key_panel(key: str, values: list[Any], scores: list[float], objective: str) -> Panel:
    style = ROLE_STYLES["filter"]

    def draw(figure: FigureBase) -> None:
        axes = figure.subplots()
        if all(isinstance(value, int | float) for value in values):
            axes.plot(values, scores, style.marker, color=style.color, ms=5)
            if min(values) > 0 and max(values) / min(values) > LOGARITHMIC_RATIO:
                axes.set_xscale("log")
            axes.set_xlabel(key)
            axes.set_ylabel(objective.rpartition("/")[2])
        else:
            texts = [str(value).strip("'") for value in values]
            choices = list(dict.fromkeys(texts))
            axes.plot(scores, [choices.index(text) for text in texts], style.marker, color=style.color, ms=5)
            labels = [
                text if len(text) <= MAX_LABEL_CHARACTERS else f"{text[:MAX_LABEL_CHARACTERS]}…" for text in choices
            ]
            axes.set_yticks(range(len(choices)), labels)
            axes.set_ylim(-0.5, len(choices) - 0.5)
            axes.set_xlabel(objective.rpartition("/")[2])
        figure.suptitle(key, fontsize=9.5, fontweight="bold", x=0.01, ha="left")

    return Panel(key, draw)
