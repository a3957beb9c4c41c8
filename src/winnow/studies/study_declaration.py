"""Build a study's declaration, and check that a later command continues the same study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, Final

from winnow import __version__
from winnow.config import load_stored_config, select_compared_settings
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import LeaveOneOut, RandomMatched
from winnow.studies.declared_endpoints import declare_endpoints
from winnow.studies.study_cell import StudyCell
from winnow.tracking import Attempt, Store, keys
from winnow.tracking.run_queries import find_newest_run, read_text_artifact

SCRATCH_STUDIES: Final = ("scratchpad", "debug")
"""Names of scratch studies, in which the cells of one arm may have different settings and data."""

PARENT_TAG: Final = "mlflow.parentRunId"

NOT_SET: Final = "not set"


def build_declaration(cells: Sequence[StudyCell], controls_by_filter: Mapping[str, str]) -> dict[str, Any]:
    """Return the declaration of the study, which is stored before the first run.

    Args:
        cells: The cells of the study.
        controls_by_filter: Maps each filter arm that has a control to its control arm.
    """
    study = cells[0].config.study
    filters = {cell.arm: cell.components.filter for cell in cells}
    arms = list(filters)
    controls = {arm: filter_.of.name for arm, filter_ in filters.items() if isinstance(filter_, RandomMatched)}
    ablations = {arm: filter_.signal for arm, filter_ in filters.items() if isinstance(filter_, LeaveOneOut)}
    ablations = {arm: signal for arm, signal in ablations.items() if signal is not None}
    tested_arms = [arm for arm in arms if arm != study.baseline and arm not in controls and arm not in ablations]
    filter_arm = next(iter(controls.values()), tested_arms[0] if tested_arms else None)
    step_budgets = {cell.config.training.max_steps for cell in cells if cell.config.training.budget.isdigit()}
    return {
        "study": study.name,
        "primary_metric": study.primary_metric,
        "secondary_metrics": list(study.secondary_metrics),
        "equivalence_margin": study.equivalence_margin,
        **declare_endpoints(study, cells[0].components),
        "block_by_seed": study.block_by_seed,
        "arms": arms,
        "arm_labels": {cell.arm: cell.label for cell in cells},
        "baseline": study.baseline,
        "filter": filter_arm,
        "control": next(iter(controls), None),
        "controls": dict(controls_by_filter),
        "tested_filters": tested_arms,
        "ablations": ablations,
        "seeds": sorted({cell.config.seed for cell in cells}),
        "max_steps": step_budgets.pop() if len(step_budgets) == 1 else None,
        "filter_words": sorted(filters[filter_arm].words()) if filter_arm in filters else [],
        "probe_words": sorted({word for probe in cells[0].components.probes.values() for word in probe.words()}),
        "cells": [cell.id for cell in cells],
        "factors": {key: list(dict.fromkeys(cell.levels[key] for cell in cells)) for key in cells[0].levels},
        "cell_levels": {cell.id: cell.levels for cell in cells if cell.levels},
        "select": study.select,
    }


def find_declared_run(store: Store, experiment_id: str, fingerprint: str, kind: str = "study") -> str | None:
    """Return the id of the newest parent run of a kind if its declaration has this fingerprint, otherwise `None`."""
    query = f"tags.`{keys.KIND}` = '{kind}' and tags.`{keys.DECLARATION_FINGERPRINT}` LIKE '%'"
    last = find_newest_run(store.client(), experiment_id, query)
    return (
        str(last.info.run_id)
        if last is not None and last.data.tags[keys.DECLARATION_FINGERPRINT] == fingerprint
        else None
    )


def check_same_settings(cells: Sequence[StudyCell], previous_attempts: Mapping[str, Attempt]) -> None:
    """Check that each arm has the same settings and data as the study's finished cells.

    Seeds and arms may be added to a study; the comparison reports which seeds and arms were added later. An arm's
    settings must not change. The studies `scratchpad` and `debug` and sweeps without a comparison are not checked.

    Raises:
        WinnowErrors: If any setting differs, with one error per setting.
    """
    study = cells[0].config.study
    if study.name in SCRATCH_STUDIES or not study.compare or len({cell.arm for cell in cells}) < 2:
        return
    errors: dict[str, WinnowError] = {}
    finished_attempts = {_identify_arm(attempt): attempt for attempt in _select_finished(previous_attempts)}
    stored_configs = {
        arm: _load_stored_config(cells[0].components.store, attempt) for arm, attempt in finished_attempts.items()
    }
    for cell in cells:
        arm = (cell.arm, *sorted(cell.levels.items()))
        if arm not in finished_attempts:
            continue
        errors |= _compare_settings(stored_configs[arm], cell.cell.config_dict, study.name)
        if not errors and finished_attempts[arm].tags.get(keys.CORPUS) != cell.components.corpus.fingerprint:
            errors["dataset"] = WinnowError(
                f"the dataset's rows differ from those used by the finished cells of study {study.name!r}. Restore the "
                "dataset, or choose another study.name.",
                "dataset",
            )
    if errors:
        message = (
            f"study {study.name!r} has finished cells with different settings or data. Choose another name, or restore"
        )
        raise WinnowErrors([WinnowError(f"{message} the settings below.", "study.name"), *errors.values()])


def check_same_version(study: str, previous_attempts: Mapping[str, Attempt]) -> None:
    """Check that a study's finished cells were trained with this version of Winnow.

    The version is part of each cell's id, so another version would train every cell again.

    Raises:
        WinnowError: If another version trained some cells (key ``study.name``).
    """
    versions = sorted(
        {attempt.tags.get(keys.WINNOW_VERSION, "0.1") for attempt in _select_finished(previous_attempts)}
        - {__version__}
    )
    if study not in SCRATCH_STUDIES and versions:
        raise WinnowError(
            f"study {study!r} was trained with Winnow {', '.join(versions)}. `winnow compare` and `winnow export` "
            f"still read its runs. To train with Winnow {__version__}, choose another study.name.",
            "study.name",
        )


def _select_finished(previous_attempts: Mapping[str, Attempt]) -> list[Attempt]:
    """Return the study's finished cells; runs that are not part of a sweep are excluded."""
    return [attempt for attempt in previous_attempts.values() if attempt.has_finished and PARENT_TAG in attempt.tags]


def _identify_arm(attempt: Attempt) -> tuple[Any, ...]:
    """Return the arm of an attempt, followed by the level of each factor."""
    return (attempt.tags[keys.ARM], *keys.read_factor_levels(attempt.tags).items())


def _load_stored_config(store: Store, attempt: Attempt) -> dict[str, Any]:
    """Return a finished cell's stored configuration, or an empty dict (no check) if the file was deleted."""
    text = read_text_artifact(store.client(), attempt.run_id, keys.RESOLVED_CONFIG)
    return load_stored_config(text) if text is not None else {}


def _compare_settings(
    stored_config: Mapping[str, Any], current_config: Mapping[str, Any], study: str
) -> dict[str, WinnowError]:
    """Return one error per setting that differs, by configuration key."""
    before, after = select_compared_settings(stored_config), select_compared_settings(current_config)
    template = (
        f"expected {{}} as in the finished cells of study {study!r}, got {{}}. Restore this value, or train another "
        "study with study.name=NEW."
    )
    return {
        key: WinnowError(template.format(_shorten(before, key), _shorten(after, key)), key)
        for key in sorted(before.keys() | after.keys())
        if before and before.get(key, NOT_SET) != after.get(key, NOT_SET)
    }


def _shorten(settings: Mapping[str, Any], key: str) -> str:
    return shorten(str(settings.get(key, NOT_SET)), 60, placeholder="...")
