"""Write the trials of a search as a table, a figure and JSON, together with the result of the confirmation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from winnow.formatting import format_number, join_names
from winnow.reporting.table_rendering import Table, build_table
from winnow.search.search_figure import draw_search, find_varied_keys
from winnow.search.search_result import SearchResult
from winnow.search.trial_store import Trial


def write_search_report(result: SearchResult, comparison: Mapping[str, Any] | None) -> Path:
    """Write ``report.md``, ``search.json``, the table of trials and the figure, and return the path of the report."""
    table = build_trial_table(result)
    table.save(result.folder)
    figure = draw_search(result, result.folder)
    content = {
        "study": result.study,
        "objectives": [objective.metric for objective in result.objectives],
        "trials": [_to_json(result, trial) for trial in result.trials],
        "pareto_front": [trial.number for trial in result.pareto_front] if result.cost else None,
        "cost_margin": result.cost_margin if result.cost else None,
        "winner": None if result.winner is None else result.winner.number,
        "choice": None if result.winner is None else result.choice,
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


def _to_json(result: SearchResult, trial: Trial) -> dict[str, Any]:
    """Return a trial. The score and the scores by seed are those of the target; the cost has its own keys."""
    by_seed = result.scores.get(trial.number, {})
    content: dict[str, Any] = {
        "number": trial.number,
        "settings": trial.overrides,
        "state": trial.state,
        "score": result.compute_mean(trial) if by_seed else None,
        "scores": {str(seed): scores[0] for seed, scores in by_seed.items()},
    }
    if result.cost is not None:
        content["cost"] = result.compute_mean(trial, 1) if by_seed else None
        content["costs"] = {str(seed): scores[1] for seed, scores in by_seed.items()}
    if trial.curve:
        content["curve"] = {str(step): value for step, value in trial.curve.items()}
    return content


def describe_search(result: SearchResult, comparison: Mapping[str, Any] | None) -> list[str]:
    """Return the result of a search as sentences."""
    states = [trial.state for trial in result.trials]
    parts = [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    counts = f"{len(result.trials)} trials" + (f" ({', '.join(parts)})" if parts else "")
    if result.winner is None:
        return [f"{counts}. No trial is complete, so there are no settings to confirm."]
    sentences = [
        f"{counts}. Trial {result.winner.number + 1} was chosen ({result.choice}): "
        f"{', '.join(result.winner.overrides)}. {_describe_scores(result, result.winner)}"
    ]
    if result.cost is not None:
        front = join_names([str(trial.number + 1) for trial in result.pareto_front])
        sentences.append(f"Pareto front of {result.target.metric} and {result.cost.metric}: trials {front}.")
    if comparison is None:
        return [*sentences, "The settings have not been confirmed on test data."]
    sentences.append(f"Confirmed with fresh seeds on test data: {comparison['verdict']['sentence']}")
    if search := comparison.get("search"):
        sentences.append(str(search["sentence"]))
    return sentences


def _describe_scores(result: SearchResult, winner: Trial) -> str:
    scores = [f"{o.metric} {format_number(result.compute_mean(winner, i))}" for i, o in enumerate(result.objectives)]
    sentence = f"On validation data: {join_names(scores)} ({_describe_seeds(len(result.scores[winner.number]))})."
    if result.chosen is not None:
        return sentence
    return f"{sentence} This score is optimistic, because it is the best of many."


def _describe_seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"mean of {count} seeds"


def build_trial_table(result: SearchResult) -> Table:
    """Return the table of trials, best first."""
    complete = sorted(result.complete, key=lambda trial: -result.compute_signed_means(trial)[0])
    others = [trial for trial in result.trials if not result.scores.get(trial.number)]
    front = [trial.number for trial in result.pareto_front] if result.cost else []
    varied_keys = find_varied_keys(result)
    rows = []
    for trial in [*complete, *others]:
        scores = result.get_target_scores(trial)
        cost: dict[str, Any] = {}
        if result.cost is not None:
            cost = {"cost": result.compute_mean(trial, 1), "front": "★" if trial.number in front else ""}
        last_step = max(trial.curve, default=0)
        settings = dict(text.split("=", 1) for text in trial.overrides if text.partition("=")[0] in varied_keys)
        rows.append(
            {
                "trial": trial.number + 1,
                "score": result.compute_mean(trial),
                "sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
                **cost,
                "seeds": len(scores),
                "state": f"pruned at step {last_step}" if trial.state == "pruned" else trial.state,
                **{key: value.strip("'") for key, value in settings.items()},
            }
        )
    caption = f"Trials of the search, sorted by {result.target.metric} on validation data."
    if result.cost is not None:
        caption += f" The cost is {result.cost.metric}. ★ Pareto front."
    return build_table(rows, "trials", caption)
