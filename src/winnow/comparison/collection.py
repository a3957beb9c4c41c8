"""Gathering a study from the store: which runs count, what was declared, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.artifacts import Artifacts
from winnow.comparison.collected_study import Cell, Declaration, Study
from winnow.comparison.declared import completed, declared
from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_names import LOSSES
from winnow.tracking.embedded_store import SQLITE, is_incomplete
from winnow.tracking.keys import (
    ARM,
    CAUSE,
    CELL,
    CURVES,
    FILLS,
    KIND,
    PROMPTS,
    RECIPE,
    ROWS,
    SEED,
)
from winnow.tracking.query import search
from winnow.tracking.store import Store, quieten
from winnow.tracking.store_errors import explained

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class _Found:
    """What one study's experiment holds."""

    name: str
    runs: list[Any]
    declaration: Declaration | None
    cells: list[Cell]
    notes: list[str]


def collect(store_uri: str, *names: str) -> Study:
    """Read a study, or several as one, from an MLflow store.

    Of several studies the first one's declaration counts. An arm that they share is one arm where it was made by the
    same recipe; else the later study's goes by ``ARM (STUDY)``.

    Args:
        store_uri: MLflow tracking URI.
        names: Names of the studies, which are those of their experiments.

    Raises:
        WinnowError: The store or a study does not exist (key ``study`` with near names), or no run has finished; or
            the store is damaged or does not answer (key ``tracking.uri``).
    """
    with explained(store_uri):
        return _collect(_open(store_uri), *names)


def _collect(client: MlflowClient, *names: str) -> Study:
    found = [_of_study(client, name) for name in dict.fromkeys(names)]
    runs = [run for one in found for run in one.runs]
    title = " and ".join(one.name for one in found)
    cells, declaration, notes = _joined(found)
    if not cells:
        raise WinnowError(
            f"The study '{title}' has no finished run: {_unfinished(runs) or 'nothing was started'}. "
            "Run the study to its end, then compare again.",
            key="study",
        )
    declaration = completed(declaration, cells, notes)
    missing = {
        arm: absent
        for arm in declaration.arms
        if (absent := sorted(set(declaration.seeds) - {cell.seed for cell in cells if cell.arm == arm}))
    }
    notes += [f"{arm} has no finished run for seed {', '.join(map(str, seeds))}." for arm, seeds in missing.items()]
    if pending := _unfinished(runs):
        notes.append(f"Left out because they did not finish: {pending}.")
    if aside := sum(_is_finished(run) for run in runs) - len(cells):
        notes.append(
            f"{aside} finished runs were left out: repeats of an arm and seed, of which the newest counts, or runs of "
            "another configuration than the declared one."
        )
    artifacts = Artifacts(client, runs)
    tables = {artifact: artifacts.table(cells, artifact) for artifact in (PROMPTS, FILLS, ROWS, CURVES)}
    return Study(
        name=title,
        parents=tuple(parent for one in found if (parent := _parent(one.runs))),
        declaration=declaration,
        cells=tuple(cells),
        prompts=tables[PROMPTS],
        fills=tables[FILLS],
        rows=tables[ROWS],
        histories=artifacts.histories(cells, LOSSES),
        curves=tables[CURVES],
        filters=artifacts.filter_summaries(cells),
        missing=missing,
        notes=(*notes, *artifacts.notes),
    )


def _of_study(client: MlflowClient, name: str) -> _Found:
    runs = _runs_of(client, name)
    artifacts = Artifacts(client, runs)
    declaration, notes = declared(runs, artifacts)
    cells = _chosen([_cell(run) for run in runs if _is_finished(run)], declaration)
    return _Found(name, runs, declaration, cells, [*notes, *artifacts.notes])


def _joined(found: Sequence[_Found]) -> tuple[list[Cell], Declaration | None, list[str]]:
    """Join the studies' cells under the first one's declaration."""
    first, *others = found
    notes = [f"{one.name}: {note}" if others else note for one in found for note in one.notes]
    if not others:
        return first.cells, first.declaration, notes
    recipes = {cell.arm: cell.tags.get(RECIPE) for cell in first.cells}
    cells = list(first.cells)
    for study in others:
        for cell in study.cells:
            other = recipes.setdefault(cell.arm, cell.tags.get(RECIPE)) != cell.tags.get(RECIPE)
            cells.append(replace(cell, arm=f"{cell.arm} ({study.name})") if other else cell)
    later = ", ".join(one.name for one in others)
    notes.append(f"Post hoc: {first.name} is compared together with {later}, which its declaration does not name.")
    declaration = first.declaration
    if declaration is not None:
        added = dict.fromkeys(cell.arm for cell in cells if cell.arm not in declaration.arms)
        declaration = replace(declaration, post_hoc=(*declaration.post_hoc, *added))
    return _newest(cells), declaration, notes


def _open(store_uri: str) -> MlflowClient:
    """Return a client for a store that exists already; MLflow itself would make an empty one."""
    store = Store(uri=store_uri)
    if store.is_server:
        return store.client()
    file = Path(store_uri.removeprefix(SQLITE))
    if store_uri.startswith(SQLITE) and (not file.is_file() or is_incomplete(file)):
        raise WinnowError(
            f"There is no run store at {store_uri}. Run a study first, or point tracking.uri at the store "
            "that holds it.",
            key="tracking.uri",
        )
    from mlflow import MlflowClient

    quieten()
    return MlflowClient(tracking_uri=store_uri)


def _runs_of(client: MlflowClient, name: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        known = sorted(found.name for found in client.search_experiments() if found.name != "Default")
        listed = f"It holds {', '.join(known)}." if known else "It holds none yet."
        raise WinnowError(f"There is no study '{name}' in the store. {listed}{did_you_mean(name, known)}", key="study")
    return search(client, [experiment.experiment_id])


def _cell(run: Any) -> Cell:
    tags, info = run.data.tags, run.info
    seconds = ((info.end_time or info.start_time) - info.start_time) / 1000
    return Cell(
        run_id=info.run_id,
        experiment=str(info.experiment_id),
        arm=tags[ARM],
        seed=int(tags[SEED]),
        tags=tags,
        metrics=run.data.metrics,
        started=info.start_time,
        seconds=seconds,
    )


def _chosen(cells: Sequence[Cell], declaration: Declaration | None) -> list[Cell]:
    """Keep one cell of each arm and seed: the newest of those made by the recipe that was last declared for their arm.

    Cells of other recipes belong to another study under the same name. Without a declaration every cell counts.
    """
    recipes: dict[str, str | None] = {}
    for sweep in declaration.cells if declaration else ():
        recipes |= {cell.arm: cell.tags.get(RECIPE) for cell in cells if cell.tags.get(CELL) in sweep}
    if recipes:
        cells = [cell for cell in cells if cell.arm in recipes and cell.tags.get(RECIPE) == recipes[cell.arm]]
    return _newest(cells)


def _newest(cells: Iterable[Cell]) -> list[Cell]:
    newest = {(cell.arm, cell.seed): cell for cell in sorted(cells, key=lambda cell: cell.started)}
    return sorted(newest.values(), key=lambda cell: (cell.arm, cell.seed))


def _is_finished(run: Any) -> bool:
    return bool(run.data.tags.get(KIND) == "cell" and run.info.status == "FINISHED")


def _parent(runs: Iterable[Any]) -> str | None:
    """Return the id of the newest run that stands for the whole study."""
    parents = [run for run in runs if run.data.tags.get(KIND) == "study"]
    return str(max(parents, key=lambda run: int(run.info.start_time)).info.run_id) if parents else None


def _unfinished(runs: Iterable[Any]) -> str:
    """Name the cells without a finished run, each with the status and cause of its newest try."""
    tries: dict[str, Any] = {}
    for run in sorted(runs, key=lambda run: (run.info.status == "FINISHED", int(run.info.start_time))):
        if run.data.tags.get(KIND) == "cell":
            tries[run.data.tags.get(CELL, run.info.run_id)] = run
    return "; ".join(
        f"{run.data.tags.get(ARM)} seed {run.data.tags.get(SEED)} ({run.info.status}"
        + (f", {run.data.tags[CAUSE]})" if CAUSE in run.data.tags else ")")
        for run in tries.values()
        if run.info.status != "FINISHED"
    )
