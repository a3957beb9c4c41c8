"""The result of the trials of a search, and the choice of the settings to confirm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from winnow.search.objective import Objective
from winnow.search.trial_store import Trial

MAX_FINALISTS = 4
"""The maximum number of trials that are trained with additional seeds."""

Scores = Mapping[int, Mapping[int, Sequence[float]]]
"""The scores by number of the trial and by seed, with one value per objective."""


@dataclass(frozen=True)
class SearchResult:
    """The result of the trials of a search.

    Attributes:
        study: The name of the study that confirms the search.
        objectives: The target and, if there are two objectives, the cost.
        trials: All trials, in order.
        scores: The scores of every complete trial.
        folder: The folder of the search.
        cost_margin: How much higher than the lowest cost the cost of the chosen trial may be; ``None`` allows any cost.
        chosen: The number of the trial that the user chose, from 0; ``None`` if the user did not choose.
    """

    study: str
    objectives: Sequence[Objective]
    trials: Sequence[Trial]
    scores: Scores
    folder: Path
    cost_margin: float | None = None
    chosen: int | None = None

    @property
    def target(self) -> Objective:
        """The first objective."""
        return self.objectives[0]

    @property
    def cost(self) -> Objective | None:
        """The second objective; ``None`` if there is only one."""
        return self.objectives[1] if len(self.objectives) > 1 else None

    @property
    def complete(self) -> list[Trial]:
        """The complete trials."""
        return [trial for trial in self.trials if self.scores.get(trial.number)]

    def get_target_scores(self, trial: Trial) -> list[float]:
        """Return the target of a trial for each seed; empty if the trial is not complete."""
        return [scores[0] for scores in self.scores.get(trial.number, {}).values()]

    def compute_mean(self, trial: Trial, objective: int = 0) -> float:
        """Return the mean of an objective over the seeds of a trial; ``nan`` if the trial is not complete."""
        scores = [scores[objective] for scores in self.scores.get(trial.number, {}).values()]
        return float(np.mean(scores)) if scores else math.nan

    def compute_signed_means(self, trial: Trial) -> tuple[float, ...]:
        """Return the means of all objectives, negated where lower values are better."""
        return tuple(o.sign * self.compute_mean(trial, i) for i, o in enumerate(self.objectives))

    @property
    def pareto_front(self) -> list[Trial]:
        """The complete trials for which no other trial is better in one objective and at least as good in the other."""
        means = {trial.number: self.compute_signed_means(trial) for trial in self.complete}

        def is_dominated(number: int) -> bool:
            own = means[number]
            return any(
                other != own and all(a >= b for a, b in zip(other, own, strict=True)) for other in means.values()
            )

        return [trial for trial in self.complete if not is_dominated(trial.number)]

    def select_affordable(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials whose cost is within the margin of the lowest cost; all trials if there is no limit."""
        if self.cost is None or self.cost_margin is None or not trials:
            return list(trials)
        best = max(self.compute_signed_means(trial)[1] for trial in self.complete)
        return [trial for trial in trials if self.compute_signed_means(trial)[1] >= best - self.cost_margin]

    @property
    def finalists(self) -> list[Trial]:
        """The affordable trials with similar targets, which are trained with additional seeds."""
        affordable = self.select_affordable(self.complete)
        scores = {trial.number: dict(enumerate(self.get_target_scores(trial))) for trial in affordable}
        numbers = select_finalists(scores, self.target.maximize)
        return [trial for trial in affordable if trial.number in numbers]

    @property
    def winner(self) -> Trial | None:
        """The trial to confirm: the user's choice, or the best target among the affordable trials with most seeds.

        If all trials with most seeds are too expensive, because their cost was measured again with more seeds, the
        cheapest of them wins. ``None`` if no trial is complete, or if the chosen one is not.
        """
        if self.chosen is not None:
            return next((trial for trial in self.complete if trial.number == self.chosen), None)
        most_seeds = max((len(self.scores[trial.number]) for trial in self.complete), default=0)
        candidates = [trial for trial in self.complete if len(self.scores[trial.number]) == most_seeds]
        if affordable := self.select_affordable(candidates):
            return max(affordable, key=lambda trial: self.compute_signed_means(trial)[0])
        return max(candidates, key=lambda trial: self.compute_signed_means(trial)[1], default=None)

    @property
    def choice(self) -> str:
        """Why the winner was chosen, as a phrase."""
        if self.chosen is not None:
            return f"choose={self.chosen + 1}"
        best = f"the best {self.target.metric}"
        if self.cost is None or self.cost_margin is None:
            return best
        limit = f"{self.cost_margin:g} of the {'highest' if self.cost.maximize else 'lowest'}"
        return f"{best} among the trials whose {self.cost.metric} is within {limit}"


def select_finalists(scores: Mapping[int, Mapping[int, float]], maximize: bool) -> list[int]:
    """Return the trials whose mean score is within two standard errors of the best mean, at most four.

    The standard deviation between seeds is pooled over all trials. With one seed per trial, it is unknown, and the best
    trials are returned.
    """
    sign = 1 if maximize else -1
    scores = {number: values for number, values in scores.items() if values}
    means = {number: sign * float(np.mean(list(values.values()))) for number, values in scores.items()}
    ranked = sorted(means, key=lambda number: -means[number])
    deviations = [np.var(list(values.values()), ddof=1) for values in scores.values() if len(values) > 1]
    if not ranked or not deviations:
        return ranked[:MAX_FINALISTS]
    seeds = min(len(values) for values in scores.values())
    error = math.sqrt(2 * float(np.mean(deviations)) / seeds)
    return [number for number in ranked if means[number] >= means[ranked[0]] - 2 * error][:MAX_FINALISTS]
