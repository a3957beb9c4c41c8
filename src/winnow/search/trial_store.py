"""Create, resume and finish the trials of a search in Optuna's storage."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from winnow.errors import WinnowError
from winnow.search.search_space import build_overrides

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

MAX_DUPLICATES = 20
"""How many times in a row the sampler may return settings that were already tried before the search ends."""

STARTUP_TRIALS = 8
"""The number of random trials before the TPE sampler uses the scores."""

SPACE_ATTRIBUTE = "winnow.space"

TrialState = Literal["running", "complete", "failed", "pruned"]

STATES: dict[str, TrialState] = {"RUNNING": "running", "COMPLETE": "complete", "FAIL": "failed", "PRUNED": "pruned"}
"""The state of a trial, by the name of Optuna's state. Optuna's other states are not used for trials.

Settings that the sampler returned twice have the state PRUNED and no intermediate values.
"""


@dataclass(frozen=True)
class Trial:
    """The settings of one trial.

    Attributes:
        number: The number of the trial, from 0.
        params: The sampled value of each key.
        score: The mean of the target over the seeds of the trial; ``nan`` if the trial is not complete.
        state: ``running``, ``complete``, ``failed`` or ``pruned``.
        curve: The target at each validation run, by step; empty if the search does not prune trials.
    """

    number: int
    params: Mapping[str, Any]
    score: float = math.nan
    state: TrialState = "running"
    curve: Mapping[int, float] = field(default_factory=dict)

    @property
    def overrides(self) -> list[str]:
        """The Hydra overrides of the settings."""
        return build_overrides(self.params)


class TrialStore:
    """The trials of a search. Several processes can use the same storage.

    Each running trial is locked by the process that runs it. The kernel releases the lock when the process ends, even
    if it is killed, and another process then resumes the trial with the same settings.

    Args:
        url: The URL of Optuna's storage; ``None`` uses a SQLite file in the folder.
        name: The name of the search.
        folder: The folder of the lock files.
        distributions: The search space.
        sampler: The name of the sampler.
        seed: The seed of the sampler. Each trial has a separate generator, so a resumed search samples the same
            settings as a search that was not interrupted.
        maximize: Whether higher scores are better, for each objective.
        fingerprint: A fingerprint of everything that determines the score of given settings.
    """

    def __init__(
        self,
        url: str | None,
        name: str,
        folder: Path,
        distributions: dict[str, BaseDistribution],
        sampler: Literal["tpe", "random"],
        seed: int,
        maximize: Sequence[bool],
        fingerprint: str,
    ) -> None:
        optuna = import_optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = folder / "trials"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._distributions, self._sampler, self._seed = distributions, sampler, seed
        with FileLock(self._folder / "sampling.lock"):
            self._study: Any = optuna.create_study(
                storage=url or f"sqlite:///{folder / 'search.db'}",
                study_name=name,
                directions=["maximize" if higher else "minimize" for higher in maximize],
                load_if_exists=True,
            )
            stored_fingerprint = self._study.user_attrs.get(SPACE_ATTRIBUTE)
            if stored_fingerprint is None:
                self._study.set_user_attr(SPACE_ATTRIBUTE, fingerprint)
        if stored_fingerprint not in (None, fingerprint):
            raise WinnowError(
                f"the search {name!r} has trials with a different search space, objective or other settings. Restore "
                "them, or choose another study.name.",
                "study.name",
            )

    @property
    def trials(self) -> list[Trial]:
        """All trials, in order. Settings that the sampler returned twice are omitted."""
        return [
            Trial(
                trial.number,
                trial.params,
                trial.values[0] if trial.state.name == "COMPLETE" else math.nan,
                STATES[trial.state.name],
                trial.intermediate_values,
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.name in STATES and not (trial.state.name == "PRUNED" and not trial.intermediate_values)
        ]

    @contextmanager
    def acquire(self, limit: int, count: int) -> Iterator[list[Trial]]:
        """Lock trials to run for the duration of the block: first abandoned trials, then new ones.

        Args:
            limit: The maximum number of trials of the search.
            count: The maximum number of trials to acquire.

        Yields:
            The trials; an empty list if there is nothing left to run.
        """
        with ExitStack() as locks:
            with FileLock(self._folder / "sampling.lock"):
                acquired: list[Trial] = []
                for trial in self.trials:
                    if trial.state == "running" and len(acquired) < count and self._lock(trial.number, locks):
                        acquired.append(self._complete_params(trial.number))
                while len(acquired) < count and len(self.trials) < limit:
                    if (new_trial := self._sample()) is None:
                        break
                    self._lock(new_trial.number, locks)
                    acquired.append(new_trial)
            yield acquired

    def report(self, trial: Trial, curve: Mapping[int, float]) -> None:
        """Store the target of a running trial at each validation run, by step. Stored steps are not changed."""
        import optuna

        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        running = optuna.trial.Trial(self._study, frozen._trial_id)
        for step in sorted(curve.keys() - frozen.intermediate_values.keys()):
            running.report(curve[step], step)

    def prune(self, trial: Trial) -> None:
        """Store that a trial with a reported curve was stopped early."""
        import optuna

        self._study.tell(trial.number, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)

    def finish(self, trial: Trial, *scores: float) -> None:
        """Store the score of a trial for each objective. If a score is not finite, the trial has failed."""
        import optuna

        if scores and all(map(math.isfinite, scores)):
            self._study.tell(trial.number, scores, skip_if_finished=True)
        else:
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)

    def _lock(self, number: int, locks: ExitStack) -> bool:
        """Lock a trial, and return whether no other process has locked it."""
        try:
            locks.enter_context(FileLock(self._folder / f"{number}.lock", timeout=0))
        except Timeout:
            return False
        return True

    def _sample(self) -> Trial | None:
        """Create a trial with settings that were not tried before, or return `None` if the sampler finds none."""
        import optuna

        for _ in range(MAX_DUPLICATES):
            tried = [trial.overrides for trial in self.trials]
            self._study.sampler = self._build_sampler(len(self._study.get_trials(deepcopy=False)))
            sampled = self._study.ask(self._distributions)
            trial = Trial(sampled.number, sampled.params)
            if trial.overrides not in tried:
                return trial
            self._study.tell(sampled, state=optuna.trial.TrialState.PRUNED)
        return None

    def _complete_params(self, number: int) -> Trial:
        """Return an abandoned trial, after sampling the parameters that its process did not sample before it ended."""
        import optuna

        self._study.sampler = self._build_sampler(number)
        frozen = self._study.get_trials(deepcopy=False)[number]
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        for name, distribution in self._distributions.items():
            trial._suggest(name, distribution)
        return Trial(number, trial.params)

    def _build_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import RandomSampler, TPESampler

        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        return TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed) if self._sampler == "tpe" else RandomSampler(seed)


def import_optuna() -> Any:
    """Import Optuna.

    Raises:
        WinnowError: If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise WinnowError(
            "winnow search requires Optuna. Install it with: pip install 'winnow-mlm[search]'."
        ) from error
    return optuna
