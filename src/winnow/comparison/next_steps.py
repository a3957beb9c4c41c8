"""Suggest commands: what to do after a comparison, and how to repair contrasts that cannot be computed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from winnow.comparison.collected_study import CollectedStudy
from winnow.comparison.prompt_predictions import Fills
from winnow.comparison.setting_differences import STUDY_FACTOR, find_setting_differences

ENOUGH_SEEDS = 5
"""A suggested sweep has at least this number of seeds per arm."""

MIN_FINISHED_SEEDS = 2
"""The minimum number of finished seeds per arm in a contrast."""


BUDGETS = ("max_passes", "total_tokens", "max_steps")
"""The settings of the training budget. The first one that is set applies."""


@dataclass(frozen=True)
class NextStep:
    """A suggested command and its purpose."""

    purpose: str
    command: str


def suggest_next_steps(
    study: CollectedStudy, prompt: str | None, only_word_frequencies: bool = False
) -> list[NextStep]:
    """Return commands with the study's names for the usual next steps.

    Args:
        study: The study.
        prompt: A prompt to fill with one model per arm, or ``None`` if no prompts were recorded.
        only_word_frequencies: Whether the models are no better than n-gram models. The first steps are then to train
            longer and to start from a pretrained model.
    """
    steps = _suggest_better_models(study) if only_word_frequencies else []
    if (more_seeds := _build_seed_command(study)) is not None:
        steps.append(NextStep("Add seeds; finished runs are not repeated", more_seeds))
    baseline, filtered = (study.get_cells(arm or "") for arm in (study.declaration.baseline, study.declaration.filter))
    if baseline and filtered:
        pair = f"{baseline[0].run_id} {filtered[0].run_id}"
        if prompt is not None:
            steps.append(
                NextStep("Compare the predictions for a sentence", f"winnow fill {shlex.quote(prompt)} {pair}")
            )
        steps.append(NextStep("Score both models on the same rows and prompts", f"winnow evaluate {pair}"))
        steps.append(NextStep("Repeat a run and compare every metric", f"winnow rerun {filtered[0].run_id}"))
    if len(study.parent_run_ids) == 1:
        steps.append(NextStep("Export the study for a paper's appendix", f"winnow export {shlex.quote(study.name)}"))
    return steps


def suggest_repairs(study: CollectedStudy, not_comparable: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the command that repairs each reason why arms cannot be compared, by reason.

    A reason without a command is omitted.
    """
    seeds = _extend_seeds(study.declaration.seeds)
    repairs = {}
    for entry in not_comparable:
        arms = [entry["a"], entry["b"]]
        command = None
        if not all(arms):
            command = build_sweep_command(study, seeds, ["YOUR_FILTER"])
        elif any(len(study.get_cells(arm)) < MIN_FINISHED_SEEDS for arm in arms):
            command = build_sweep_command(study, seeds, arms)
        elif find_setting_differences(study, arms, compare_probes=False) is not None:
            command = _build_new_study_command(study, seeds)
        if command is not None:
            repairs[entry["reason"]] = command
    return repairs


def build_sweep_command(study: CollectedStudy, seeds: Sequence[int], more_arms: Sequence[str] = ()) -> str | None:
    """Return the command that trains all arms of the study with the given seeds.

    The command repeats the recorded overrides. ``None`` is returned if no overrides were recorded, if the arms differ
    in more than ``filter``, so that one sweep cannot train all of them, or if several studies are joined.
    """
    factors = study.declaration.factors
    shared = {tuple(_drop_overrides(overrides, "seed", "filter", *factors)) for overrides in study.overrides.values()}
    if len(shared) != 1 or len(study.parent_run_ids) != 1:
        return None
    settings = [*shared.pop(), *(f"{key}={','.join(levels)}" for key, levels in factors.items())]
    return _format_sweep(settings, [*_list_filters(study), *more_arms], seeds)


def _suggest_better_models(study: CollectedStudy) -> list[NextStep]:
    """Return the commands that train longer and that start from a pretrained model, each in a new study.

    A command is omitted if the setting that it changes is a factor, or if the models are already pretrained.
    """
    config = next(iter(study.settings.get(study.declaration.baseline) or []), {})
    seeds, factors = study.declaration.seeds, study.declaration.factors
    longer = pretrained = None
    training = config.get("training") or {}
    budget = next((key for key in BUDGETS if training.get(key)), None)
    if budget is not None and f"training.{budget}" not in factors:
        key = f"training.{budget}"
        longer = _build_new_study_command(study, seeds, "longer", [key], [f"{key}={2 * training[budget]}"])
    if (config.get("model") or {}).get("_target_") != "winnow.training.Pretrained" and "model" not in factors:
        dropped = ["model", "optimizer"]  # the configuration of the model selects an optimizer for fine-tuning
        pretrained = _build_new_study_command(study, seeds, "pretrained", dropped, ["model=distilbert"])
    steps = (("Train longer", longer), ("Start from a pretrained model", pretrained))
    return [NextStep(purpose, command) for purpose, command in steps if command is not None]


def _build_new_study_command(
    study: CollectedStudy,
    seeds: Sequence[int],
    suffix: str = "same_settings",
    dropped: Sequence[str] = (),
    added: Sequence[str] = (),
) -> str | None:
    """Return the command that trains all arms in a new study with the settings of the baseline.

    Args:
        study: The study.
        seeds: The seeds of each arm.
        suffix: The text that is appended to the study's name.
        dropped: The settings or config groups whose recorded overrides are omitted.
        added: The overrides to add.
    """
    overrides = study.overrides.get(study.declaration.baseline)
    if overrides is None:
        return None
    name = f"{study.name.replace(' and ', '_')}_{suffix}"
    factors = {key: levels for key, levels in study.declaration.factors.items() if key != STUDY_FACTOR}
    kept = _drop_overrides(overrides, "seed", "filter", "study.name", *factors, *dropped)
    kept = [text for text in kept if not text.lstrip("+").startswith(tuple(f"{key}." for key in dropped))]
    settings = [*kept, f"study.name={name}", *added]
    settings += [f"{key}={','.join(levels)}" for key, levels in factors.items()]
    return _format_sweep(settings, _list_filters(study), seeds)


def _list_filters(study: CollectedStudy) -> list[str]:
    return [
        text.partition("=")[2]
        for overrides in study.overrides.values()
        for text in overrides
        if text.startswith("filter=")
    ]


def _format_sweep(settings: Sequence[str], filters: Sequence[str], seeds: Sequence[int]) -> str:
    names = ",".join(dict.fromkeys(filters))
    arguments = [*settings, f"filter={names}", f"seed={','.join(map(str, seeds))}"]
    return f"winnow train -m {' '.join(map(shlex.quote, arguments))}"


def select_prompt(fills: Mapping[str, Mapping[str, Fills]], probe: str) -> str | None:
    """Return the first prompt of a probe, or of the first probe if the probe has none."""
    by_prompt = fills.get(probe) or next(iter(fills.values()), {})
    return next(iter(by_prompt), None)


def _build_seed_command(study: CollectedStudy) -> str | None:
    if not study.declaration.seeds:
        return None
    last = max(study.declaration.seeds)
    count = max(ENOUGH_SEEDS, 2 * len(study.declaration.seeds)) - len(study.declaration.seeds)
    return build_sweep_command(study, [*study.declaration.seeds, *range(last + 1, last + 1 + count)])


def _extend_seeds(seeds: Sequence[int]) -> list[int]:
    """Return at least five seeds that include the given seeds."""
    last = max(seeds, default=0)
    return [*seeds, *range(last + 1, last + 1 + max(0, ENOUGH_SEEDS - len(seeds)))]


def _drop_overrides(overrides: Sequence[str], *keys: str) -> list[str]:
    return [text for text in overrides if text.partition("=")[0].lstrip("+") not in keys]
