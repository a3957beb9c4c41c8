"""Run the trials of a search with the launcher of the study, and select the best settings."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from winnow.config import SearchConfig, construct, select_compared_settings
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors
from winnow.run.corpus_loader import CorpusLoader
from winnow.run.run_components import ComponentBuilder, build_components, check_components, check_store
from winnow.search.objective import find_objective
from winnow.search.search_space import build_distributions
from winnow.search.trial_cells import SEARCH_SUFFIX, CellComposer, TrainCell
from winnow.search.trial_store import Trial, TrialStore, import_optuna
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher
from winnow.studies.parallelism import ParallelPlan, share_machine
from winnow.studies.plan_runner import run_plan
from winnow.studies.process_coordination import OTHER_PROCESS_POLL_SECONDS, track_study_run
from winnow.studies.study_cell import StudyCell
from winnow.studies.study_plan import plan_jobs
from winnow.tracking import close_stale_runs, keys, load_attempts, sync

MAX_FINALISTS = 4
"""The maximum number of trials that are trained with additional seeds."""


@dataclass(frozen=True)
class SearchResult:
    """The result of the trials of a search.

    Attributes:
        study: The name of the study that confirms the search.
        objective: The objective.
        maximize: Whether higher scores are better.
        trials: All trials, in order.
        scores: The scores of every complete trial by seed, by number of the trial.
        winner: The trial with the best score; ``None`` if no trial is complete.
        folder: The folder of the search.
    """

    study: str
    objective: str
    maximize: bool
    trials: Sequence[Trial]
    scores: Mapping[int, Mapping[int, float]]
    winner: Trial | None
    folder: Path

    def compute_mean(self, trial: Trial) -> float:
        """Return the mean score of a trial over its seeds; ``nan`` if the trial is not complete."""
        scores = list(self.scores.get(trial.number, {}).values())
        return float(np.mean(scores)) if scores else math.nan


class Search:
    """A search over the settings of `winnow train`.

    Args:
        search: The settings of the search.
        overrides: The overrides of `winnow train` that apply to all trials.
        config_dirs: Folders to add to the search path.
        console: The console for progress messages.

    Raises:
        WinnowErrors: If the configuration is invalid.
    """

    def __init__(
        self, search: SearchConfig, overrides: Sequence[str], config_dirs: Sequence[Path], console: Console
    ) -> None:
        import_optuna()
        self.composer = CellComposer(search, overrides, config_dirs)
        self._search, self._console = search, console
        self._corpus_loader, self._builder = CorpusLoader(), ComponentBuilder()
        self.base = self.composer.compose_base()
        self._base_cell = self._build_cell(self.base, {})
        components = self._base_cell.components
        check_components([components])
        self._store = components.store
        check_store(self._store)
        config = self.base.config
        self.study, self.objective = config.study.name, find_objective(search.objective, config, components)
        self.maximize = components.metrics.metric(self.objective).direction == "higher"
        self.folder = config.output_dir / self.experiment_name
        self._launcher = construct(config.launcher, "launcher", Launcher, config.allow_targets)  # type: ignore[type-abstract]
        if launcher_errors := self._launcher.check():
            raise WinnowErrors(error.with_prefix("launcher") for error in launcher_errors)

    def run(self) -> SearchResult:
        """Run all trials, train the best ones with additional seeds, and return the result."""
        sync(self._store)
        close_stale_runs(self._store, self._experiment)
        title = f"{self.study} (search)"
        with track_study_run(self._store, title, self._declaration, self.folder, kind="search") as parent:
            trials = self._open_trials()
            self._run_trials(trials, parent.run_id)
            result = self._collect(trials.trials)
            numbers = select_finalists(result.scores, self.maximize)
            if len(numbers) > 1 and self._search.max_trial_seeds > len(self._search.trial_seeds):
                finalists = [trial for trial in result.trials if trial.number in numbers]
                self._console.print(f"[bold]Additional seeds[/bold] for {len(finalists)} trials with similar scores")
                self._train(finalists, self.composer.trial_seeds, parent.run_id)
                result = self._collect(trials.trials)
        return result

    @property
    def experiment_name(self) -> str:
        """The name of the experiment that contains the trials."""
        return f"{self.study}{SEARCH_SUFFIX}"

    @property
    def _experiment(self) -> str:
        return self._store.experiment(self.experiment_name)

    @cached_property
    def _declaration(self) -> dict[str, object]:
        search = asdict(self._search)
        excluded = ("trials", "storage", "confirm", "confirmation_seeds", "max_trial_seeds", "allow_targets")
        declared = {name: value for name, value in search.items() if name not in excluded}
        return {"study": self.experiment_name, **declared, "objective": self.objective}

    def _open_trials(self) -> TrialStore:
        searched = tuple(f"{key}." for key in self._search.space)
        settings = {
            key: value
            for key, value in select_compared_settings(self.base.config_dict).items()
            if not f"{key}.".startswith(searched)
        }
        corpus = self._base_cell.components.corpus.fingerprint
        return TrialStore(
            self._search.storage,
            self.experiment_name,
            self.folder,
            build_distributions(self._search.space),
            self._search.sampler,
            self._search.sampler_seed,
            self.maximize,
            fingerprint(self._declaration, settings, corpus),
        )

    def _run_trials(self, trials: TrialStore, parent_run_id: str) -> None:
        seeds_per_trial = len(self._search.trial_seeds)
        job = Job(self._base_cell.cell, self._base_cell.components, self._base_cell.id, parent_run_id)
        launcher = self._share_machine([job] * seeds_per_trial * self._search.trials).launcher
        parallel_trials = max(1, math.ceil(launcher.max_parallel_cells / seeds_per_trial))
        while True:
            with trials.acquire(self._search.trials, parallel_trials) as acquired:
                if not acquired and not any(trial.state == "running" for trial in trials.trials):
                    return
                if not acquired:  # another process runs the remaining trials; this process resumes them if it ends
                    time.sleep(OTHER_PROCESS_POLL_SECONDS)
                    continue
                for trial in acquired:
                    settings = escape(", ".join(trial.overrides))
                    self._console.print(
                        f"[bold]Trial {trial.number + 1}[/bold] of {self._search.trials}: {settings}", soft_wrap=True
                    )
                scores = self._train(acquired, self._search.trial_seeds, parent_run_id)
                for trial in acquired:
                    trials.finish(trial, float(np.mean(scores[trial.number])) if scores[trial.number] else math.nan)

    def _train(self, trials: Sequence[Trial], seeds: Sequence[int], parent_run_id: str) -> dict[int, list[float]]:
        """Train the unfinished cells of trials, and return the scores of each trial; empty if any cell failed."""
        cells: dict[int, list[StudyCell]] = {}
        for trial in trials:
            try:
                cells[trial.number] = self._build_trial(trial, seeds)
            except WinnowError as error:  # each value is valid, but the combination is not
                self._console.print(f"Trial {trial.number + 1} failed: {escape(str(error))}", style="yellow")
        if cells:
            all_cells = [cell for trial_cells in cells.values() for cell in trial_cells]
            plan = plan_jobs(all_cells, load_attempts(self._store, self._experiment), parent_run_id)
            parallel_plan = self._share_machine(plan.jobs)
            run_plan(
                all_cells, replace(plan, jobs=parallel_plan.jobs), parallel_plan.launcher, self._store, self._console
            )
        attempts = load_attempts(self._store, self._experiment)
        scores = {
            number: [
                attempts[cell.id].scores.get(self.objective, math.nan)
                for cell in trial_cells
                if cell.id in attempts and attempts[cell.id].has_finished
            ]
            for number, trial_cells in cells.items()
        }
        is_complete = {number: len(values) == len(seeds) for number, values in scores.items()}
        return {trial.number: scores[trial.number] if is_complete.get(trial.number) else [] for trial in trials}

    def _share_machine(self, jobs: Sequence[Job]) -> ParallelPlan:
        """Choose the number of parallel cells and the threads of each cell, as in a study with all trials."""
        return share_machine(jobs, self._launcher, len(self._search.trial_seeds) * self._search.trials, lambda: None)

    def _collect(self, trials: Sequence[Trial]) -> SearchResult:
        """Return the scores of all trials. The winner has the best mean among the trials with the most seeds."""
        scores: dict[int, dict[int, float]] = {trial.number: {} for trial in trials if trial.state == "complete"}
        for attempt in load_attempts(self._store, self._experiment).values():
            number, score = int(attempt.tags.get(keys.TRIAL, -1)), attempt.scores.get(self.objective, math.nan)
            if attempt.has_finished and number in scores and math.isfinite(score):
                scores[number][int(attempt.tags[keys.SEED])] = score
        result = SearchResult(self.study, self.objective, self.maximize, trials, scores, None, self.folder)
        most_seeds = max(map(len, scores.values()), default=0)
        candidates = [trial for trial in trials if most_seeds and len(scores.get(trial.number, {})) == most_seeds]
        sign = 1 if self.maximize else -1
        return replace(result, winner=max(candidates, key=lambda t: sign * result.compute_mean(t), default=None))

    def _build_trial(self, trial: Trial, seeds: Sequence[int]) -> list[StudyCell]:
        tags = {keys.TRIAL: str(trial.number)}
        cells = self.composer.compose_trial(trial.overrides, seeds, self.study, self.objective)
        return [self._build_cell(cell, tags) for cell in cells]

    def _build_cell(self, cell: TrainCell, tags: Mapping[str, str]) -> StudyCell:
        return StudyCell(cell, build_components(cell.config, self._corpus_loader, self._builder), tags)


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
