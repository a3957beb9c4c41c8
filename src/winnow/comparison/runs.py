"""Gathering a study from the store: which runs count, what was declared, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.comparison.artifacts import Artifacts
from winnow.comparison.declaration import Declaration, completed, declared
from winnow.errors import WinnowError, did_you_mean
from winnow.tracking.record import (
    ARM,
    CAUSE,
    CELL,
    FILLS,
    KIND,
    PROMPTS,
    RECIPE,
    ROWS,
    SEED,
)
from winnow.tracking.store import quieten

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

CURVES = ("train/loss", "validation/loss")


@dataclass(frozen=True)
class Cell:
    """One finished training: an arm and a seed, its tags and its last metrics. ``seconds`` is wall time."""

    run_id: str
    arm: str
    seed: int
    tags: dict[str, str]
    metrics: dict[str, float]
    started: int
    seconds: float


@dataclass(frozen=True)
class Study:
    """All that is known of a study, ready to be compared.

    ``prompts``, ``fills`` and ``rows`` are the cells' tables with ``arm`` and ``seed`` in front (empty where
    no cell has them); ``histories`` holds the curves; ``missing`` the declared seeds without a finished run.
    """

    name: str
    declaration: Declaration
    cells: tuple[Cell, ...]
    prompts: pd.DataFrame
    fills: pd.DataFrame
    rows: pd.DataFrame
    histories: pd.DataFrame
    filters: dict[str, dict[str, Any]]
    missing: dict[str, list[int]]
    notes: tuple[str, ...]

    def of(self, arm: str) -> list[Cell]:
        """Return an arm's cells in order of seed."""
        return sorted((cell for cell in self.cells if cell.arm == arm), key=lambda cell: cell.seed)

    @property
    def arms(self) -> list[str]:
        """Arms with a finished run: baseline, filter and control first, then the others by name."""
        roles = [self.declaration.baseline, self.declaration.filter, self.declaration.control]
        present = {cell.arm for cell in self.cells}
        return [arm for arm in roles if arm in present] + sorted(present.difference(roles))


def collect(store_uri: str, name: str) -> Study:
    """Read a study from an MLflow store.

    Raises:
        WinnowError: The store or the study does not exist (key ``study`` with near names), it has no finished
            run, only
            one arm, or fewer than two arms with two seeds.
    """
    client = _open(store_uri)
    runs = _runs_of(client, name)
    artifacts = Artifacts(client, runs)
    finished = [run for run in runs if run.data.tags.get(KIND) == "cell" and run.info.status == "FINISHED"]
    if not finished:
        raise WinnowError(
            f"The study '{name}' has no finished run: {_unfinished(runs) or 'nothing was started'}. "
            "Run the study to its end, then compare again.",
            key="study",
        )
    declaration, notes = declared(runs, artifacts)
    cells = _chosen([_cell(run) for run in finished], declaration)
    declaration = completed(declaration, {(cell.arm, cell.seed) for cell in cells}, notes)
    _refuse_too_few(name, cells)
    missing = {
        arm: absent
        for arm in declaration.arms
        if (absent := sorted(set(declaration.seeds) - {cell.seed for cell in cells if cell.arm == arm}))
    }
    notes += [f"{arm} has no finished run for seed {', '.join(map(str, seeds))}." for arm, seeds in missing.items()]
    if pending := _unfinished(runs):
        notes.append(f"Left out because they did not finish: {pending}.")
    if aside := len(finished) - len(cells):
        notes.append(
            f"{aside} finished runs were left out: repeats of an arm and seed, of which the newest counts, or runs of "
            "another configuration than the declared one."
        )
    tables = {artifact: artifacts.table(cells, artifact) for artifact in (PROMPTS, FILLS, ROWS)}
    return Study(
        name=name,
        declaration=declaration,
        cells=tuple(cells),
        prompts=tables[PROMPTS],
        fills=tables[FILLS],
        rows=tables[ROWS],
        histories=artifacts.histories(cells, CURVES),
        filters=artifacts.filter_summaries(cells),
        missing=missing,
        notes=(*notes, *artifacts.notes),
    )


def _open(store_uri: str) -> MlflowClient:
    """Return a client for a store that exists already; MLflow itself would make an empty one."""
    from mlflow import MlflowClient

    quieten()
    if store_uri.startswith("sqlite:///") and not Path(store_uri.removeprefix("sqlite:///")).is_file():
        raise WinnowError(
            f"There is no run store at {store_uri}. Run a study first, or point tracking.uri at the store "
            "that holds it.",
            key="tracking.uri",
        )
    return MlflowClient(tracking_uri=store_uri)


def _runs_of(client: MlflowClient, name: str) -> list[Any]:
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        known = sorted(found.name for found in client.search_experiments() if found.name != "Default")
        listed = f"It holds {', '.join(known)}." if known else "It holds none yet."
        raise WinnowError(f"There is no study '{name}' in the store. {listed}{did_you_mean(name, known)}", key="study")
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _cell(run: Any) -> Cell:
    tags, info = run.data.tags, run.info
    seconds = ((info.end_time or info.start_time) - info.start_time) / 1000
    return Cell(
        run_id=info.run_id,
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
    newest = {(cell.arm, cell.seed): cell for cell in sorted(cells, key=lambda cell: cell.started)}
    return sorted(newest.values(), key=lambda cell: (cell.arm, cell.seed))


def _refuse_too_few(name: str, cells: Sequence[Cell]) -> None:
    seeds: dict[str, int] = {}
    for cell in cells:
        seeds[cell.arm] = seeds.get(cell.arm, 0) + 1
    have = ", ".join(f"{arm} ({n} seed{'s' if n > 1 else ''})" for arm, n in sorted(seeds.items()))
    if len(seeds) < 2:
        raise WinnowError(
            f"The study '{name}' has one arm only, {have}; a comparison needs two. Run it "
            "with another filter too, as in filter=full,nike_positive.",
            key="study",
        )
    if sum(n >= 2 for n in seeds.values()) < 2:
        raise WinnowError(
            f"The study '{name}' has too few seeds: {have}. One seed cannot tell a better arm from a "
            "lucky run; run at least 2 seeds of each arm, and 5 for a firm answer.",
            key="study",
        )


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
