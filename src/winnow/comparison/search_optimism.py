"""Compare the score that a search reported for the chosen settings with their score in the confirmation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.metric_scores import compute_seed_scores
from winnow.formatting import format_number
from winnow.metrics.metric_names import held_out_metric_name, parse_metric_name, stage_metric_name


@dataclass(frozen=True)
class SearchOptimism:
    """The scores of the settings that a search chose.

    Attributes:
        study: The name of the experiment that contains the trials.
        objective: The objective of the search, measured on validation data.
        metric: The metric of the confirmation, measured on test data.
        trials: The number of trials.
        settings: The chosen settings.
        search_score: The score of the winner in the search.
        fresh_score: The score of the same settings on the same validation data, with the seeds of the confirmation;
            ``nan`` if it was not logged.
        confirmed_score: The score of the same settings on test data, with the seeds of the confirmation.
        optimism: How much better the search score is than the confirmed score.
        selection: The part of the optimism that is due to selecting the best of many noisy scores: how much better the
            search score is than the fresh score.
        sentence: The optimism in one paragraph.
    """

    study: str
    objective: str
    metric: str
    trials: int
    settings: tuple[str, ...]
    search_score: float
    fresh_score: float
    confirmed_score: float
    optimism: float
    selection: float
    sentence: str


def measure_optimism(study: CollectedStudy) -> SearchOptimism | None:
    """Return the optimism of the search that chose the filter's settings, or ``None`` if there was no search."""
    search, arm = study.declaration.search, study.declaration.filter
    if search is None or arm is None:
        return None
    objective = str(search["objective"])
    parsed = parse_metric_name(objective)
    is_held_out = parsed.kind == "held_out"
    name = held_out_metric_name("test", parsed.scope, parsed.score) if is_held_out else objective
    metric = study.registry.metric(name)
    scores = list(compute_seed_scores(study, metric, arm).values())
    sign = -1.0 if metric.direction == "lower" else 1.0
    search_score, confirmed = float(search["score"]), float(np.mean(scores)) if scores else math.nan
    fresh = _compute_fresh_score(study, arm, objective)
    optimism, selection = sign * (search_score - confirmed), sign * (search_score - fresh)
    selection_text = f"; the part that is due to the selection of the best trial is {format_number(selection)}"
    sentence = (
        f"The settings {', '.join(search['settings'])} were selected by a search over {search['trials']} trials "
        f"({search['study']}), which optimized {objective} on validation data. The score was "
        f"{format_number(search_score)} in the search. With fresh seeds, "
        f"it is {format_number(fresh)} on the same validation data and {format_number(confirmed)} on test data. The "
        f"optimism of the search is {format_number(optimism)}{selection_text if math.isfinite(selection) else ''}."
    )
    return SearchOptimism(
        study=str(search["study"]),
        objective=objective,
        metric=name,
        trials=int(search["trials"]),
        settings=tuple(search["settings"]),
        search_score=search_score,
        fresh_score=fresh,
        confirmed_score=confirmed,
        optimism=optimism,
        selection=selection,
        sentence=sentence,
    )


def _compute_fresh_score(study: CollectedStudy, arm: str, objective: str) -> float:
    """Return the mean validation score of the arm's runs after their last step; ``nan`` if it was not logged."""
    parsed = parse_metric_name(objective)
    if parsed.kind == "held_out":
        name = stage_metric_name("final", objective)
        scores = [cell.metrics[name] for cell in study.get_cells(arm) if name in cell.metrics]
        return float(np.mean(scores)) if scores else math.nan
    curves = study.probe_curves
    if curves.empty:
        return math.nan
    selected = curves[(curves["arm"] == arm) & (curves["probe"] == parsed.scope) & (curves["metric"] == parsed.score)]
    last = selected[selected["step"] == selected.groupby("seed", observed=True)["step"].transform("max")]
    return float(last["value"].mean())
