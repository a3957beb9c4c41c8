"""Compose the cells of trials and of the confirmation from the search space and the overrides of `winnow train`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow.config import ComposedCell, SearchConfig, SearchRange, TrainConfig, compose_cells
from winnow.config.filter_overrides import FILTER_PREFIX
from winnow.config.overrides import parse_override
from winnow.errors import WinnowError, WinnowErrors
from winnow.search.search_space import build_overrides, find_space_errors, format_override_value

SEARCH_SUFFIX: Final = "-search"
"""The suffix that is added to the study's name to form the name of the experiment that contains the trials."""

SINGLE_RUN: Final = "hydra.mode=RUN"
"""The override that prevents an experiment file from starting a sweep."""

TrainCell = ComposedCell[TrainConfig]


@dataclass(frozen=True)
class CellComposer:
    """Composes the cells of a search.

    Attributes:
        search: The settings of the search.
        overrides: The overrides of `winnow train` that apply to all trials.
        config_dirs: Folders to add to the search path.
    """

    search: SearchConfig
    overrides: Sequence[str]
    config_dirs: Sequence[Path] = ()

    def compose_base(self) -> TrainCell:
        """Return a cell with the first value of every key of the search space, after composing with every other value.

        Raises:
            WinnowErrors: If any value of the search space or any override is invalid.
        """
        errors = find_space_errors(self.search.space)
        if overlap := sorted(set(self.search.confirmation_seeds) & set(self.trial_seeds)):
            message = f"the seeds {', '.join(map(str, overlap))} are also used by the trials. Choose other seeds."
            errors.append(WinnowError(message, "confirmation_seeds"))
        if errors:
            raise WinnowErrors(errors)
        first, *others = self._list_settings()
        cells = [self._compose([*build_overrides(settings)], []) for settings in (first, *others)]
        if "keep" not in cells[0].config.filter:
            message = "expected a filter in the search, got none. Set filter=NAME, or add filter to the search space."
            raise WinnowError(message, "filter")
        return cells[0]

    def _list_settings(self) -> Iterator[dict[str, Any]]:
        """Yield settings with the first value of every key, then one with each other value of each key."""
        values: dict[str, list[Any]] = {
            key: [choices.low, choices.high]
            if isinstance(choices, SearchRange)
            else [format_override_value(choice) for choice in choices]
            for key, choices in self.search.space.items()
        }
        first = {key: options[0] for key, options in values.items()}
        yield first
        for key, options in values.items():
            yield from (first | {key: value} for value in options[1:])

    @property
    def trial_seeds(self) -> list[int]:
        """The seeds of a trial that is trained with the maximum number of seeds."""
        seeds = list(self.search.trial_seeds)
        while len(seeds) < self.search.max_trial_seeds:
            seeds.append(max(seeds) + 1)
        return seeds

    def compose_trial(
        self, settings: Sequence[str], seeds: Sequence[int], study: str, objectives: Sequence[str]
    ) -> list[TrainCell]:
        """Return the cells of a trial, one per seed. Only the validation split is evaluated.

        Args:
            settings: The sampled overrides.
            seeds: The seeds.
            study: The name of the study that confirms the search.
            objectives: The target and, if there are two objectives, the cost. Both are logged to MLflow.
        """
        fixed = [
            f"study.name={study}{SEARCH_SUFFIX}",
            f"study.primary_metric='{objectives[0]}'",
            f"study.secondary_metrics={list(objectives[1:])}",
            "study.compare=false",
            "evaluation.validation_only=true",
        ]
        return [self._compose(settings, [*fixed, f"seed={seed}"]) for seed in seeds]

    def compose_confirmation(self, settings: Sequence[str], baseline: str) -> list[TrainCell]:
        """Return the cells of the confirmation: the chosen settings and the baseline, one per confirmation seed."""
        options = [text for text in (*self.overrides, *settings) if _get_key(text) == "filter"]
        if not options:
            message = "expected filter=NAME on the command line or in the search space, got none."
            raise WinnowError(f"{message} The confirmation needs the name to add the baseline.", "filter")
        filter_name = options[-1].partition("=")[2]
        seeds = ",".join(map(str, self.search.confirmation_seeds))
        texts = [text for text in self._merge(self.overrides, settings) if _get_key(text) not in ("filter", "seed")]
        controls = [] if any(_get_key(text) == "study.controls" for text in texts) else ["study.controls=auto"]
        cells, _ = compose_cells(
            "train",
            TrainConfig,
            [*texts, *controls, f"filter={baseline},{filter_name}", f"seed={seeds}"],
            True,
            self.config_dirs,
        )
        return cells

    def _compose(self, settings: Sequence[str], fixed: Sequence[str]) -> TrainCell:
        texts = self._merge(self.overrides, settings, fixed)
        cells, _ = compose_cells(
            "train", TrainConfig, [*texts, SINGLE_RUN], config_dirs=self.config_dirs, named_keys=self._filter_keys
        )
        return cells[0]

    @staticmethod
    def _merge(*groups: Sequence[str]) -> list[str]:
        """Return all overrides; if several overrides set the same key, only the last one is kept."""
        return list({_get_key(text): text for group in groups for text in group}.values())

    @property
    def _filter_keys(self) -> list[str]:
        return [key for key in self.search.space if key.startswith(FILTER_PREFIX)]


def _get_key(text: str) -> str:
    override = parse_override(text)
    return f"{override.key_or_group}@{override.package}" if override.package else str(override.key_or_group)
