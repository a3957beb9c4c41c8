"""Run the trials of a search with the launcher of the study."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from winnow.config import SearchConfig, construct, select_compared_settings
from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError, WinnowErrors
from winnow.run.corpus_loader import CorpusLoader
from winnow.run.pruning import Pruning, find_curve_metric
from winnow.run.run_components import ComponentBuilder, build_components, check_components, check_store
from winnow.search.objective import find_objectives
from winnow.search.search_result import SearchResult
from winnow.search.search_space import build_distributions
from winnow.search.trial_cells import SEARCH_SUFFIX, CellComposer, TrainCell
from winnow.search.trial_pruning import find_pruning_errors, read_curve
from winnow.search.trial_store import Trial, TrialStore, import_optuna
from winnow.studies.job import Job
from winnow.studies.launchers import Launcher
from winnow.studies.parallelism import ParallelPlan, share_machine
from winnow.studies.plan_runner import run_plan
from winnow.studies.process_coordination import OTHER_PROCESS_POLL_SECONDS, track_study_run
from winnow.studies.study_cell import StudyCell
from winnow.studies.study_plan import plan_jobs
from winnow.tracking import Attempt, close_stale_runs, keys, load_attempts, sync

DECLARED_KEYS = ("space", "sampler", "sampler_seed", "trial_seeds")
"""The keys of a search that determine the settings and the scores of its trials."""


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
        self.study = config.study.name
        self.objectives = find_objectives(search.objectives, config, components)
        self.target = self.objectives[0]
        self.folder = config.output_dir / self.experiment_name
        self._launcher = construct(config.launcher, "launcher", Launcher, config.allow_targets)  # type: ignore[type-abstract]
        errors = [error.with_prefix("launcher") for error in self._launcher.check()]
        if self._prunes:
            errors += find_pruning_errors(self.objectives, self._launcher)
        if errors:
            raise WinnowErrors(errors)

    def run(self) -> SearchResult:
        """Run all trials, train the best ones with additional seeds, and return the result."""
        sync(self._store)
        close_stale_runs(self._store, self._experiment)
        title = f"{self.study} (search)"
        with track_study_run(self._store, title, self._declaration, self.folder, kind="search") as parent:
            trials = self._open_trials()
            self._run_trials(trials, parent.run_id)
            result = self._collect(trials.trials)
            finalists = result.finalists
            if len(finalists) > 1 and self._search.max_trial_seeds > len(self._search.trial_seeds):
                self._console.print(f"[bold]Additional seeds[/bold] for {len(finalists)} trials with similar scores")
                self._train(finalists, self.composer.trial_seeds, parent.run_id)
                result = self._collect(trials.trials)
        return result

    @property
    def experiment_name(self) -> str:
        """The name of the experiment that contains the trials."""
        return f"{self.study}{SEARCH_SUFFIX}"

    @property
    def _prunes(self) -> bool:
        return self._search.pruner != "none"

    @property
    def _experiment(self) -> str:
        return self._store.experiment(self.experiment_name)

    @cached_property
    def _declaration(self) -> dict[str, object]:
        search = asdict(self._search)
        declared = {name: search[name] for name in DECLARED_KEYS}
        return {"study": self.experiment_name, **declared, "objectives": [o.metric for o in self.objectives]}

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
            [objective.maximize for objective in self.objectives],
            fingerprint(self._declaration, settings, corpus),
        )

    def _run_trials(self, trials: TrialStore, parent_run_id: str) -> None:
        seeds_per_trial = len(self._search.trial_seeds)
        job = Job(self._base_cell.cell, self._base_cell.components, self._base_cell.id, parent_run_id)
        launcher = self._share_machine([job] * seeds_per_trial * self._search.trials).launcher
        cells_per_trial = 1 if self._prunes else seeds_per_trial
        parallel_trials = max(1, math.ceil(launcher.max_parallel_cells / cells_per_trial))
        while True:
            with trials.acquire(self._search.trials, parallel_trials) as acquired:
                if not acquired and not any(trial.state == "running" for trial in trials.trials):
                    return
                if not acquired:  # another process runs the remaining trials; this process resumes them if it ends
                    time.sleep(OTHER_PROCESS_POLL_SECONDS)
                    continue
                for trial in acquired:  # numbers are not consecutive if the sampler returned the same settings twice
                    position = sum(other.number <= trial.number for other in trials.trials)
                    title = f"[bold]Trial {trial.number + 1}[/bold] ({position} of {self._search.trials})"
                    self._console.print(f"{title}: {escape(', '.join(trial.overrides))}", soft_wrap=True)
                remaining = self._prune(acquired, trials, parent_run_id) if self._prunes else acquired
                scores = self._train(remaining, self._search.trial_seeds, parent_run_id)
                for trial in remaining:
                    trials.finish(trial, *map(float, np.mean(scores[trial.number], axis=0)))

    def _prune(self, acquired: Sequence[Trial], trials: TrialStore, parent_run_id: str) -> list[Trial]:
        """Train the first seed of trials, store their curves and the pruned trials, and return the other trials.

        Pruned and failed trials are not trained with the other seeds.
        """
        curve_metric = find_curve_metric(self.target.metric)
        assert curve_metric is not None
        curves = [dict(trial.curve) for trial in trials.trials if trial.state == "complete" and trial.curve]
        rule = Pruning(curve_metric, self.target.maximize, curves)
        cells = self._train_cells(acquired, self._search.trial_seeds[:1], parent_run_id, rule)
        attempts, remaining = load_attempts(self._store, self._experiment), []
        for trial in acquired:
            attempt = next((attempts[cell.id] for cell in cells.get(trial.number, []) if cell.id in attempts), None)
            has_ended = attempt is not None and (attempt.has_finished or attempt.was_pruned)
            curve = read_curve(self._store, attempt, self.target.metric) if attempt and has_ended else {}
            trials.report(trial, curve)
            if attempt is not None and attempt.has_finished:
                remaining.append(trial)
            elif curve:
                trials.prune(trial)
            else:
                trials.finish(trial)
        return remaining

    def _train(
        self, trials: Sequence[Trial], seeds: Sequence[int], parent_run_id: str
    ) -> dict[int, list[tuple[float, ...]]]:
        """Train the unfinished cells of trials, and return the scores of each trial, with one value per objective.

        If a cell of a trial failed, the scores are ``nan``.
        """
        cells = self._train_cells(trials, seeds, parent_run_id)
        attempts = load_attempts(self._store, self._experiment)
        failed = (math.nan,) * len(self.objectives)
        scores: dict[int, list[tuple[float, ...]]] = {}
        for trial in trials:
            finished = [attempts[cell.id] for cell in cells.get(trial.number, []) if cell.id in attempts]
            values = [self._get_scores(attempt) for attempt in finished if attempt.has_finished]
            scores[trial.number] = values if len(values) == len(seeds) else [failed]
        return scores

    def _get_scores(self, attempt: Attempt) -> tuple[float, ...]:
        return tuple(attempt.scores.get(objective.metric, math.nan) for objective in self.objectives)

    def _train_cells(
        self, trials: Sequence[Trial], seeds: Sequence[int], parent_run_id: str, pruning: Pruning | None = None
    ) -> dict[int, list[StudyCell]]:
        """Train the unfinished cells of trials, and return the cells of each trial.

        With a pruning rule, cells that the rule has already stopped are skipped. Without one, they resume.
        """
        cells: dict[int, list[StudyCell]] = {}
        for trial in trials:
            try:
                cells[trial.number] = self._build_trial(trial, seeds)
            except WinnowError as error:  # each value is valid, but the combination is not
                self._console.print(f"Trial {trial.number + 1} failed: {escape(str(error))}", style="yellow")
        attempts = load_attempts(self._store, self._experiment)
        pruned = {name for name, attempt in attempts.items() if attempt.was_pruned and pruning is not None}
        unfinished = [cell for trial_cells in cells.values() for cell in trial_cells if cell.id not in pruned]
        if unfinished:
            plan = plan_jobs(unfinished, attempts, parent_run_id)
            parallel_plan = self._share_machine([replace(job, pruning=pruning) for job in plan.jobs])
            run_plan(
                unfinished, replace(plan, jobs=parallel_plan.jobs), parallel_plan.launcher, self._store, self._console
            )
        return cells

    def _share_machine(self, jobs: Sequence[Job]) -> ParallelPlan:
        """Choose the number of parallel cells and the threads of each cell, as in a study with all trials."""
        return share_machine(jobs, self._launcher, len(self._search.trial_seeds) * self._search.trials, lambda: None)

    def _collect(self, trials: Sequence[Trial]) -> SearchResult:
        """Return the scores of all complete trials."""
        scores: dict[int, dict[int, tuple[float, ...]]] = {t.number: {} for t in trials if t.state == "complete"}
        for attempt in load_attempts(self._store, self._experiment).values():
            number, values = int(attempt.tags.get(keys.TRIAL, -1)), self._get_scores(attempt)
            if attempt.has_finished and number in scores and all(map(math.isfinite, values)):
                scores[number][int(attempt.tags[keys.SEED])] = values
        search = self._search
        margin = search.cost_margin if search.cost_margin is not None else self.base.config.study.cost_margin
        chosen = None if search.choose is None else search.choose - 1
        return SearchResult(self.study, self.objectives, trials, scores, self.folder, margin, chosen)

    def _build_trial(self, trial: Trial, seeds: Sequence[int]) -> list[StudyCell]:
        tags = {keys.TRIAL: str(trial.number)}
        metrics = [objective.metric for objective in self.objectives]
        cells = self.composer.compose_trial(trial.overrides, seeds, self.study, metrics)
        return [self._build_cell(cell, tags) for cell in cells]

    def _build_cell(self, cell: TrainCell, tags: Mapping[str, str]) -> StudyCell:
        return StudyCell(cell, build_components(cell.config, self._corpus_loader, self._builder), tags)
