"""The protocol of a study, stored before its first cell runs, and what may be added to it later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, Final

import yaml

from winnow import __version__
from winnow.config import flat
from winnow.errors import WinnowError, WinnowErrors
from winnow.filters import LeaveOneOut, RandomMatched
from winnow.run.components import MACHINE
from winnow.studies.study_cell import StudyCell
from winnow.tracking import Attempt, Store, keys
from winnow.tracking.query import artifact_text, newest

TRIALS: Final = ("scratchpad", "debug")
"""Names under which anything may be tried."""

DECISIVE: Final = ("filter", "model", "masking", "optimizer", "training", "trainer", "evaluation")
"""Groups whose settings decide what a cell's scores mean; a dataset goes by its rows instead."""

PARENT: Final = "mlflow.parentRunId"

NOT_SET: Final = "not set"


def declare(cells: Sequence[StudyCell]) -> dict[str, Any]:
    """Return the protocol of the study, as it stands before the first run."""
    study = cells[0].config.study
    filters = {cell.arm: cell.components.filter for cell in cells}
    arms = list(filters)
    controls = {arm: one.of.name for arm, one in filters.items() if isinstance(one, RandomMatched)}
    ablations = {arm: one.signal for arm, one in filters.items() if isinstance(one, LeaveOneOut)}
    ablations = {arm: signal for arm, signal in ablations.items() if signal is not None}
    tested = [arm for arm in arms if arm != study.baseline and arm not in controls and arm not in ablations]
    under_test = next(iter(controls.values()), tested[0] if tested else None)
    budgets = {cell.config.training.max_steps for cell in cells if cell.config.training.total_tokens is None}
    return {
        "study": study.name,
        "primary_metric": study.primary_metric,
        "secondary_metrics": list(study.secondary_metrics),
        "equivalence_margin": study.equivalence_margin,
        "block_by_seed": study.block_by_seed,
        "arms": arms,
        "baseline": study.baseline,
        "filter": under_test,
        "control": next(iter(controls), None),
        "ablations": ablations,
        "seeds": sorted({cell.config.seed for cell in cells}),
        "max_steps": budgets.pop() if len(budgets) == 1 else None,
        "filter_words": sorted(filters[under_test].words()) if under_test in filters else [],
        "probe_words": sorted({word for probe in cells[0].components.probes.values() for word in probe.words()}),
        "cells": [cell.id for cell in cells],
    }


def earlier_run(store: Store, experiment_id: str, declared: str) -> str | None:
    """Return the last run that declared the study, if its declaration is the same."""
    query = f"tags.`{keys.KIND}` = 'study' and tags.`{keys.DECLARED}` LIKE '%'"
    last = newest(store.client(), experiment_id, query)
    return str(last.info.run_id) if last is not None and last.data.tags[keys.DECLARED] == declared else None


def refuse_another_study(cells: Sequence[StudyCell], known: Mapping[str, Attempt]) -> None:
    """Raise where a study of this name has finished cells of the same arms, but with other settings or data.

    More seeds and more arms are welcome to a study, and the comparison says that they came later. Other settings make
    another study: under one name nobody could say any more what an arm stands for. `scratchpad` takes anything, and so
    does a sweep that compares no arms.

    Raises:
        WinnowErrors: One for each setting that differs.
    """
    study = cells[0].config.study
    if study.name in TRIALS or not study.compare or len({cell.arm for cell in cells}) < 2:
        return
    faults: dict[str, WinnowError] = {}
    earlier = {one.tags[keys.ARM]: one for one in _finished(known)}
    stored = {arm: _stored_tree(cells[0].components.store, one) for arm, one in earlier.items()}
    for cell in cells:
        if cell.arm not in earlier:
            continue
        faults |= _changed(stored[cell.arm], cell.cell.tree, study.name)
        if not faults and earlier[cell.arm].tags.get(keys.CORPUS) != cell.components.corpus.fingerprint:
            faults["dataset"] = WinnowError(
                f"the rows are not those of the finished cells of {study.name!r}.", "dataset"
            )
    if faults:
        told = "Settings or data of another study: what has finished under this name is kept as it is. Choose another "
        faults["study.name"] = WinnowError(f"{told}name for this one, or go back to the settings below.", "study.name")
        raise WinnowErrors([faults.pop("study.name"), *faults.values()])


def refuse_another_version(study: str, known: Mapping[str, Attempt]) -> None:
    """Raise if another version of Winnow trained finished cells of a study.

    The version is part of what identifies a cell, so every cell would be trained again under the same name.

    Raises:
        WinnowError: With the key ``study.name``.
    """
    others = sorted({one.tags.get(keys.VERSION, "0.1") for one in _finished(known)} - {__version__})
    if study not in TRIALS and others:
        raise WinnowError(
            f"study {study!r} was trained by Winnow {', '.join(others)}. Its runs stay readable by `winnow compare` "
            f"and `winnow export`. Choose another study.name to train with Winnow {__version__}.",
            "study.name",
        )


def _finished(known: Mapping[str, Attempt]) -> list[Attempt]:
    """Return the finished cells of studies; a run that was trained on its own is not one."""
    return [one for one in known.values() if one.has_finished and PARENT in one.tags]


def _stored_tree(store: Store, attempt: Attempt) -> dict[str, Any]:
    """Return the configuration of a finished cell; an empty one if it was deleted, which then allows any setting."""
    text = artifact_text(store.client(), attempt.run_id, keys.CONFIG)
    return yaml.safe_load(text) if text is not None else {}


def _changed(then: Mapping[str, Any], now: Mapping[str, Any], study: str) -> dict[str, WinnowError]:
    """Return an error for each decisive setting that differs, by key."""
    before, after = _decisive(then), _decisive(now)
    told = f"was {{}} in the finished cells of study {study!r}, and is {{}} now."
    return {
        key: WinnowError(told.format(_shown(before, key), _shown(after, key)), key)
        for key in sorted(before.keys() | after.keys())
        if before and before.get(key, NOT_SET) != after.get(key, NOT_SET)
    }


def _decisive(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that decide what is learned, by key; a class has the key of its group."""
    return {key.removesuffix("._target_"): value for key, value in flat(tree) if _decides(key)}


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return shorten(str(settings.get(key, NOT_SET)), 60, placeholder="...")


def _decides(key: str) -> bool:
    """Tell whether a parameter decides what is learned, or how that is measured."""
    group, _, rest = key.partition(".")
    return (
        group in DECISIVE
        and not (group == "trainer" and rest.partition(".")[0] in MACHINE)
        and not key.startswith("evaluation.slices")
    )
