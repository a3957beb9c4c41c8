"""Query MLflow for runs, artifacts, metric histories and the cells of a study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from winnow.metrics.metric_names import VALIDATION_LOSS, select_stage
from winnow.tracking.keys import CELL_ID, COMMIT, FAILURE_REASON, KIND, METRIC_TABLE, PRUNED
from winnow.tracking.metric_table import has_metric_table, parse_metric_table
from winnow.tracking.offline.run_operations import is_missing_run_error, is_retryable_error
from winnow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CELL_RUN_FILTER = f"tags.`{KIND}` = 'cell'"
"""Filter string for :func:`search_runs` that selects training runs."""

STUDY_RUN_FILTER = f"tags.`{KIND}` = 'study'"
"""Filter string for :func:`search_runs` that selects the parent runs of studies."""

RUNS_PER_PAGE = 200
"""The number of runs per request. With 1,000 runs, MLflow's database objects need 130 MB more memory."""

NEWEST_FIRST = ("attributes.start_time DESC",)


def search_runs(client: MlflowClient, experiments: Sequence[str], query: str = "") -> list[Run]:
    """Return all runs in the given experiments that match an MLflow filter string, newest first."""
    runs: list[Run] = []
    page_token = None
    while True:
        page = client.search_runs(
            list(experiments), query, max_results=RUNS_PER_PAGE, order_by=list(NEWEST_FIRST), page_token=page_token
        )
        runs += page
        page_token = page.token
        if not page_token:
            return runs


def list_experiments(client: MlflowClient) -> list[str]:
    """Return the ids of all experiments. A single request returns at most 1,000."""
    ids: list[str] = []
    page_token = None
    while True:
        page = client.search_experiments(page_token=page_token)
        ids += [experiment.experiment_id for experiment in page]
        page_token = page.token
        if not page_token:
            return ids


def find_newest_run(client: MlflowClient, experiment_id: str, query: str) -> Run | None:
    """Return an experiment's newest run that matches a filter string, or `None` if no run matches."""
    return next(iter(client.search_runs([experiment_id], query, max_results=1, order_by=list(NEWEST_FIRST))), None)


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return the run with the given id, or `None` if there is no such run.

    Raises:
        MlflowException: If the store does not respond.
    """
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if is_retryable_error(error) and not is_missing_run_error(error):
            raise
        return None


def fetch_artifact(client: MlflowClient, run_id: str, path: str, folder: str | Path | None = None) -> Path | None:
    """Return an artifact's local path, or `None` if the artifact does not exist; a remote artifact is downloaded.

    Raises:
        MlflowException: If the store does not respond.
    """
    from mlflow.exceptions import MlflowException

    try:
        return Path(client.download_artifacts(run_id, path, None if folder is None else str(folder)))
    except (MlflowException, OSError):
        client.search_experiments(max_results=1)  # fails if the server is down, in which case the artifact may exist
        return None


def read_text_artifact(client: MlflowClient, run_id: str, path: str) -> str | None:
    """Return the text of an artifact, or `None` if the artifact does not exist."""
    with TemporaryDirectory() as folder:
        file = fetch_artifact(client, run_id, path, folder)
        return None if file is None else file.read_text(encoding="utf-8")


def read_json_artifact(client: MlflowClient, run_id: str, path: str) -> dict[str, Any]:
    """Return a JSON artifact as a dictionary, or an empty dictionary if the artifact is missing or damaged."""
    try:
        data: dict[str, Any] = json.loads(read_text_artifact(client, run_id, path) or "{}")
    except ValueError:
        return {}
    return data


def read_run_metrics(client: MlflowClient, run: Run) -> dict[str, float]:
    """Return the last value of every metric of a run: those in MLflow and those in its table."""
    metrics = dict(run.data.metrics)
    if has_metric_table(run.data.tags):
        metrics |= parse_metric_table(read_json_artifact(client, run.info.run_id, METRIC_TABLE))
    return metrics


def iter_metric_histories(
    client: MlflowClient, run_id: str, metrics: Sequence[str]
) -> Iterator[tuple[str, int, float]]:
    """Yield the metric name, step and value of every value logged for the given metrics."""
    for metric in metrics:
        for point in client.get_metric_history(run_id, metric):
            yield metric, point.step, point.value


@dataclass(frozen=True)
class Attempt:
    """The run that represents a cell: a finished run if one exists, otherwise a running run, otherwise the newest.

    Attributes:
        run_id: The MLflow run id.
        status: The MLflow run status, such as `FINISHED` or `RUNNING`.
        tags: The run's tags.
        params: The run's parameters.
        metrics: The last value of each metric.
    """

    run_id: str
    status: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

    @property
    def has_finished(self) -> bool:
        """Whether the run has the status FINISHED."""
        return self.status == "FINISHED"

    @property
    def was_pruned(self) -> bool:
        """Whether a search stopped the run early."""
        return self.status == "KILLED" and PRUNED in self.tags

    @property
    def is_alive(self) -> bool:
        """Whether a process is executing the run.

        Call `close_stale_runs` first, so that a run whose process has died is not reported as alive.
        """
        return self.status == "RUNNING"

    @property
    def had_checkpoint(self) -> bool:
        """Whether the run reached its first checkpoint, which is saved together with the first validation loss."""
        return VALIDATION_LOSS in self.metrics

    @property
    def scores(self) -> dict[str, float]:
        """The final scores by metric name."""
        return select_stage("final", self.metrics)

    @property
    def commit(self) -> str | None:
        """The git commit of the code that the run executed; `None` if the commit was not recorded."""
        return self.tags.get(COMMIT)

    @property
    def failure_reason(self) -> str:
        """Why the run failed or was killed; an empty string if unknown."""
        return self.tags.get(FAILURE_REASON, "")


def load_attempts(store: Store, experiment_id: str, cell: str | None = None) -> dict[str, Attempt]:
    """Return the run that represents each cell, by cell id; see :class:`Attempt`.

    Args:
        store: The store that contains the runs.
        experiment_id: The experiment that contains the runs.
        cell: Id of a single cell to load; by default, all cells of the experiment are loaded.
    """
    query = f"{CELL_RUN_FILTER} and tags.`{CELL_ID}` = '{cell}'" if cell else CELL_RUN_FILTER
    ranks = {"FINISHED": 2, "RUNNING": 1}
    runs = search_runs(store.client(), [experiment_id], query)
    runs.sort(key=lambda run: (ranks.get(run.info.status, 0), int(run.info.start_time)))
    return {
        run.data.tags[CELL_ID]: Attempt(
            run.info.run_id, run.info.status, run.data.tags, run.data.params, run.data.metrics
        )
        for run in runs
        if CELL_ID in run.data.tags
    }
