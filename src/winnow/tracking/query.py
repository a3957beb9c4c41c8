"""Queries to MLflow: runs, artifacts, metric histories, and the state of the cells of a study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import VALIDATION_LOSS, select_stage
from winnow.tracking.keys import CELL_ID, COMMIT, FAILURE_REASON, KIND
from winnow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

IS_CELL = f"tags.`{KIND}` = 'cell'"
"""Filter of :func:`search` for training runs."""

NEWEST_FIRST = ("attributes.start_time DESC",)


def search_runs(client: MlflowClient, experiments: Sequence[str], query: str = "") -> list[Run]:
    """Return all runs of experiments that match a filter, the newest first."""
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            list(experiments), query, max_results=1000, order_by=list(NEWEST_FIRST), page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def find_newest_run(client: MlflowClient, experiment_id: str, query: str) -> Run | None:
    """Return the newest run of an experiment that matches a filter, or `None`."""
    return next(iter(client.search_runs([experiment_id], query, max_results=1, order_by=list(NEWEST_FIRST))), None)


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run, or `None` if the store has no such run."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException:
        return None


def fetch_artifact(client: MlflowClient, run_id: str, path: str, folder: str | Path | None = None) -> Path | None:
    """Return a local path of an artifact, downloaded into a folder if remote; `None` if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return Path(client.download_artifacts(run_id, path, None if folder is None else str(folder)))
    except (MlflowException, OSError):
        return None


def read_text_artifact(client: MlflowClient, run_id: str, path: str) -> str | None:
    """Return a text artifact, or `None` if there is none."""
    with TemporaryDirectory() as folder:
        found = fetch_artifact(client, run_id, path, folder)
        return None if found is None else found.read_text(encoding="utf-8")


def read_json_artifact(client: MlflowClient, run_id: str, path: str) -> dict[str, Any]:
    """Return a JSON artifact, empty if there is none or it is damaged."""
    try:
        found: dict[str, Any] = json.loads(read_text_artifact(client, run_id, path) or "{}")
    except ValueError:
        return {}
    return found


def iter_metric_histories(
    client: MlflowClient, run_id: str, metrics: Sequence[str]
) -> Iterator[tuple[str, int, float]]:
    """Yield metric, step and value of every logged point."""
    for metric in metrics:
        for point in client.get_metric_history(run_id, metric):
            yield metric, point.step, point.value


@dataclass(frozen=True)
class Attempt:
    """The run of a cell that counts: a finished one before any other, and else the newest.

    Attributes:
        run_id: MLflow's id of the run.
        status: MLflow's status of the run.
        tags: Its tags.
        params: Its parameters.
        metrics: Its last metrics.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

    @property
    def has_finished(self) -> bool:
        """Whether the cell is done."""
        return self.status == "FINISHED"

    @property
    def is_alive(self) -> bool:
        """Whether a process works on the cell; runs whose process died must have been closed before."""
        return self.status == "RUNNING"

    @property
    def had_checkpoint(self) -> bool:
        """Whether the run came as far as its first checkpoint, which goes with a look at the validation loss."""
        return VALIDATION_LOSS in self.metrics

    @property
    def scores(self) -> dict[str, float]:
        """The final scores by metric name."""
        return select_stage("final", self.metrics)

    @property
    def commit(self) -> str | None:
        """The commit that the run was made on."""
        return self.tags.get(COMMIT)

    @property
    def failure_reason(self) -> str:
        """Why the run broke off."""
        return self.tags.get(FAILURE_REASON, "")


def load_attempts(store: Store, experiment_id: str, cell: str | None = None) -> dict[str, Attempt]:
    """Return for each cell id of an experiment, or for one of them, the run that counts."""
    query = f"{IS_CELL} and tags.`{CELL_ID}` = '{cell}'" if cell else IS_CELL
    ranks = {"FINISHED": 2, "RUNNING": 1}
    found = search_runs(store.client(), [experiment_id], query)
    found.sort(key=lambda run: (ranks.get(run.info.status, 0), int(run.info.start_time)))
    return {
        run.data.tags[CELL_ID]: Attempt(
            run.info.run_id, run.info.status, run.data.tags, run.data.params, run.data.metrics
        )
        for run in found
        if CELL_ID in run.data.tags
    }
