"""Read a study from the store: select its runs, merge its declarations, and list missing runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.artifact_reader import ArtifactReader
from winnow.comparison.collected_study import CollectedCell, CollectedStudy, Declaration
from winnow.comparison.declaration_merging import complete_declaration, merge_declarations
from winnow.comparison.selected_levels import combine_levels
from winnow.comparison.study_joining import StudyRuns, join_studies, keep_newest
from winnow.comparison.word_overlap import add_unlisted_polarities
from winnow.config.factors import format_levels
from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_names import LOSS_METRICS
from winnow.tracking.embedded_store import SQLITE_PREFIX, is_incomplete
from winnow.tracking.keys import (
    ARM,
    ARM_LABEL,
    CELL_ID,
    FAILURE_REASON,
    KIND,
    PREDICTED_WORDS,
    PROBE_CURVES,
    PROMPT_RESULTS,
    RECIPE,
    ROW_SCORES,
    SEED,
    read_factor_levels,
)
from winnow.tracking.run_queries import RUNS_PER_PAGE, STUDY_RUN_FILTER, search_runs
from winnow.tracking.store import Store, silence_mlflow
from winnow.tracking.store_errors import translate_store_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


UNDECLARED = "undeclared"
"""A recipe that no run has."""


@dataclass(frozen=True)
class StudySelection:
    """The runs of one study or of several joined studies that will be compared. Their results have not been read yet.

    Attributes:
        client: The client of the store.
        store_uri: MLflow tracking URI.
        name: The name of the study, or the names of the joined studies.
        runs: All runs of the studies.
        cells: The runs to compare.
        declaration: The merged declaration.
        parent_run_ids: The id of each study's newest parent run.
        missing_seeds: The declared seeds without a finished run, by arm.
        notes: Notes for the reader of the report.
    """

    client: MlflowClient
    store_uri: str
    name: str
    runs: list[Any]
    cells: list[CollectedCell]
    declaration: Declaration
    parent_run_ids: tuple[str, ...]
    missing_seeds: dict[str, list[int]]
    notes: list[str]


def collect_study(store_uri: str, *names: str) -> CollectedStudy:
    """Read one study from an MLflow store, or join several studies.

    If studies are joined, the declaration of the first study is used. Arms with the same name and recipe are merged. If
    the baseline and other arms have the same names but different recipes, the study is a factor: the arms are compared
    within each study. If only some arms have different recipes, the arms of the later study are renamed to
    ``ARM (STUDY)``.

    Args:
        store_uri: MLflow tracking URI.
        names: Names of the studies, which are also the names of their MLflow experiments.

    Raises:
        WinnowError: If a study does not exist or has no finished run (key ``study``), or if the store does not exist,
            is damaged or does not respond (key ``tracking.uri``).
    """
    return read_results(select_runs(store_uri, *names))


def select_runs(store_uri: str, *names: str) -> StudySelection:
    """Select the runs that :func:`collect_study` reads, without reading their results."""
    with translate_store_errors(store_uri):
        return _select_from_client(_open_store(store_uri), store_uri, *names)


def read_results(selection: StudySelection) -> CollectedStudy:
    """Read the results of the selected runs.

    If the study has factors, the results of each level are read. The study is then the average over the levels or, if
    this was declared, the selected level of each run.
    """
    levels: dict[str, list[CollectedCell]] = {}
    for cell in selection.cells:
        levels.setdefault(cell.level, []).append(cell)
    studies = {
        level: _read_level(replace(selection, cells=levels[level]))
        for level in sorted(levels, key=lambda level: _sort_key(levels[level][0], selection.declaration))
    }
    return combine_levels(studies) if len(studies) > 1 else next(iter(studies.values()))


def _sort_key(cell: CollectedCell, declaration: Declaration) -> tuple[int, ...]:
    """Return the position of a cell's levels in the declaration."""
    return tuple(
        levels.index(cell.levels[key]) if cell.levels.get(key) in levels else len(levels)
        for key, levels in declaration.factors.items()
    )


def _read_level(selection: StudySelection) -> CollectedStudy:
    """Read the results of runs that have the same level of every factor."""
    with translate_store_errors(selection.store_uri):
        artifacts = ArtifactReader(selection.client, selection.runs)
        cells = [artifacts.add_tabulated_metrics(cell) for cell in selection.cells]
        tables = {
            artifact: artifacts.read_table(cells, artifact)
            for artifact in (PROMPT_RESULTS, PREDICTED_WORDS, ROW_SCORES, PROBE_CURVES)
        }
        probe_words = artifacts.read_probe_words(cells)
        return CollectedStudy(
            name=selection.name,
            parent_run_ids=selection.parent_run_ids,
            declaration=selection.declaration,
            cells=tuple(cells),
            prompts=add_unlisted_polarities(
                tables[PROMPT_RESULTS],
                tables[PREDICTED_WORDS],
                probe_words.get(selection.declaration.filter or "", {}),
            ),
            fills=tables[PREDICTED_WORDS],
            rows=tables[ROW_SCORES],
            loss_curves=artifacts.read_curves(cells, LOSS_METRICS),
            probe_curves=tables[PROBE_CURVES],
            filter_summaries=artifacts.read_filter_summaries(cells),
            probe_words=probe_words,
            settings=artifacts.read_settings(cells),
            overrides=artifacts.read_overrides(cells),
            missing_seeds=selection.missing_seeds,
            notes=(*selection.notes, *artifacts.notes),
        )


def _select_from_client(client: MlflowClient, store_uri: str, *names: str) -> StudySelection:
    studies = [_read_study_runs(client, name) for name in dict.fromkeys(names)]
    runs = [run for study in studies for run in study.runs]
    title = " and ".join(study.name for study in studies)
    cells, declaration, notes = join_studies(studies)
    if not cells:
        raise WinnowError(
            f"the study '{title}' has no finished run: {_describe_unfinished(runs) or 'no run was started'}. "
            "Run the study to completion, then compare again.",
            key="study",
        )
    if declaration is None:  # the primary metric is inferred from all metrics of the runs
        cells = list(map(ArtifactReader(client, runs).add_tabulated_metrics, cells))
    declaration = complete_declaration(declaration, cells, notes)
    missing_seeds = _find_missing_seeds(cells, declaration)
    notes += [
        f"{arm} has no finished run for seed {', '.join(map(str, seeds))}." for arm, seeds in missing_seeds.items()
    ]
    if pending := _describe_unfinished(runs):
        notes.append(f"Excluded because they did not finish: {pending}.")
    if excluded_count := sum(_is_finished(run) for run in runs) - len(cells):
        notes.append(
            f"{excluded_count} finished runs were excluded, because a newer run has the same arm and seed, or because "
            "their configuration differs from the declaration."
        )
    return StudySelection(
        client=client,
        store_uri=store_uri,
        name=title,
        runs=runs,
        cells=cells,
        declaration=declaration,
        parent_run_ids=tuple(parent for study in studies if (parent := _find_parent(study.runs))),
        missing_seeds=missing_seeds,
        notes=notes,
    )


def _find_missing_seeds(cells: Sequence[CollectedCell], declaration: Declaration) -> dict[str, list[int]]:
    """Return the declared seeds without a finished run, by arm. If there are factors, all levels must have a run."""
    levels = list(dict.fromkeys(cell.level for cell in cells))
    finished = {(cell.arm, cell.level, cell.seed) for cell in cells}
    missing = {
        arm: [seed for seed in sorted(declaration.seeds) if any((arm, level, seed) not in finished for level in levels)]
        for arm in declaration.arms
    }
    return {arm: seeds for arm, seeds in missing.items() if seeds}


def _read_study_runs(client: MlflowClient, name: str) -> StudyRuns:
    runs = _search_runs(client, name)
    artifacts = ArtifactReader(client, runs)
    declaration, notes = merge_declarations(runs, artifacts)
    cells = _select_declared([_to_cell(run) for run in runs if _is_finished(run)], declaration)
    return StudyRuns(name, runs, declaration, cells, [*notes, *artifacts.notes])


def _open_store(store_uri: str) -> MlflowClient:
    """Return a client for an existing store, or raise an error so that MLflow does not create a missing store."""
    store = Store(uri=store_uri)
    if store.is_server:
        return store.client()
    file = Path(store_uri.removeprefix(SQLITE_PREFIX))
    if store_uri.startswith(SQLITE_PREFIX) and (not file.is_file() or is_incomplete(file)):
        raise WinnowError(
            f"no run store exists at {store_uri}. Run a study first, or set tracking.uri to the store of the study.",
            key="tracking.uri",
        )
    from mlflow import MlflowClient

    silence_mlflow()
    return MlflowClient(tracking_uri=store_uri)


def _search_runs(client: MlflowClient, name: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        experiments = {e.experiment_id: e.name for e in client.search_experiments()}  # at most the newest 1,000
        names = sorted(name for name in experiments.values() if name != "Default")
        newest = client.search_runs(list(experiments), STUDY_RUN_FILTER, max_results=RUNS_PER_PAGE)
        studies = {experiments[run.info.experiment_id] for run in newest}
        available = f"Available: {', '.join(sorted(studies))}. Correct the name." if studies else "Run a study first."
        raise WinnowError(f"no study named '{name}' in the store.{did_you_mean(name, names)} {available}", key="study")
    return search_runs(client, [experiment.experiment_id])


def _to_cell(run: Any) -> CollectedCell:
    tags, info = run.data.tags, run.info
    seconds = ((info.end_time or info.start_time) - info.start_time) / 1000
    return CollectedCell(
        run_id=info.run_id,
        experiment_id=str(info.experiment_id),
        arm=tags.get(ARM_LABEL, tags[ARM]),
        seed=int(tags[SEED]),
        tags=tags,
        metrics=run.data.metrics,
        start_time=info.start_time,
        seconds=seconds,
        levels=read_factor_levels(tags),
    )


def _select_declared(cells: Sequence[CollectedCell], declaration: Declaration | None) -> list[CollectedCell]:
    """Return the newest cell of each arm, factor level and seed, considering only cells with the declared recipe.

    If an arm was declared with several recipes at the same level, the newest declaration applies. Cells with a
    different recipe belong to a different study with the same name. If there is no declaration, cells are not filtered
    by recipe.
    """
    if declaration is not None:
        cells = [_assign_levels(cell, declaration) for cell in cells]
    recipes: dict[tuple[str, str], str | None] = {}
    for sweep in declaration.cells if declaration else ():
        recipes |= {(cell.arm, cell.level): cell.tags.get(RECIPE) for cell in cells if cell.tags.get(CELL_ID) in sweep}
    if recipes:
        cells = [cell for cell in cells if cell.tags.get(RECIPE) == recipes.get((cell.arm, cell.level), UNDECLARED)]
    return keep_newest(cells)


def _assign_levels(cell: CollectedCell, declaration: Declaration) -> CollectedCell:
    """Return the cell with the declared level of each factor. A cell trained before a factor was added has no tag."""
    return replace(cell, levels=declaration.cell_levels.get(cell.tags.get(CELL_ID, ""), cell.levels))


def _is_finished(run: Any) -> bool:
    return bool(run.data.tags.get(KIND) == "cell" and run.info.status == "FINISHED")


def _find_parent(runs: Iterable[Any]) -> str | None:
    """Return the id of the newest parent run of the study, or ``None`` if there is none."""
    parents = [run for run in runs if run.data.tags.get(KIND) == "study"]
    return str(max(parents, key=lambda run: int(run.info.start_time)).info.run_id) if parents else None


def _describe_unfinished(runs: Iterable[Any]) -> str:
    """List the cells without a finished run, with the status and failure reason of the newest attempt.

    Attempts are omitted if a later run with the same study, arm, factor levels and seed finished.
    """
    attempts: dict[str, Any] = {}
    last_finished: dict[tuple[Any, ...], int] = {}
    for run in sorted(runs, key=lambda run: (run.info.status == "FINISHED", int(run.info.start_time))):
        if run.data.tags.get(KIND) == "cell":
            attempts[run.data.tags.get(CELL_ID, run.info.run_id)] = run
            if run.info.status == "FINISHED":
                last_finished[_get_position(run)] = int(run.info.start_time)
    return "; ".join(
        f"{_describe_arm(run.data.tags)} seed {run.data.tags.get(SEED)} ({run.info.status}"
        + (f", {run.data.tags[FAILURE_REASON]})" if FAILURE_REASON in run.data.tags else ")")
        for run in attempts.values()
        if run.info.status != "FINISHED" and int(run.info.start_time) >= last_finished.get(_get_position(run), 0)
    )


def _get_position(run: Any) -> tuple[Any, ...]:
    """Return the study, arm, seed and factor levels of a run."""
    tags = run.data.tags
    levels = tuple(sorted(read_factor_levels(tags).items()))
    return run.info.experiment_id, tags.get(ARM_LABEL, tags.get(ARM)), tags.get(SEED), levels


def _describe_arm(tags: Mapping[str, str]) -> str:
    """Return the label of a run's arm and the level of each factor."""
    label = tags.get(ARM_LABEL, tags.get(ARM, ""))
    return ", ".join(filter(None, (label, format_levels(read_factor_levels(tags)))))
