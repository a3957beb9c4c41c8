"""What a run writes, as plain data: done at once, or kept in a file and done later, with the same outcome.

An operation is a dictionary whose ``do`` says what it is; the rest is what :func:`perform` needs, times included. To
perform one twice changes nothing: MLflow stores an equal value at an equal time and step once, and everything else is
set to what it is already.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.tracking.keys import ATTEMPTS, CHANGED_PARAMS, FAILURE_REASON, OWNER

if TYPE_CHECKING:
    from mlflow import MlflowClient

Operation = dict[str, Any]

DESCRIPTION: Final = "mlflow.note.content"
"""Tag: the description in MLflow's pages."""

PERMANENT_ERROR_CODES: Final = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""What MLflow answers to an operation that no store would take."""

MAX_METRICS_PER_CALL: Final = 1000
"""Metrics that MLflow takes in one call."""

MAX_PARAMS_PER_CALL: Final = 100


def perform(client: MlflowClient, run_id: str, operation: Operation) -> None:
    """Perform one operation on a run.

    Raises:
        MlflowException: The store refuses or does not answer; see :func:`is_retryable`.
        OSError: An artifact cannot be written.
    """
    from mlflow.entities import Metric, Param, RunTag

    if operation.get("only_new"):
        operation = _only_new(client, run_id, operation)
    match operation["do"]:
        case "metrics":
            for values in _parts(operation["values"], MAX_METRICS_PER_CALL):
                with _garbage_collection_paused(client):
                    client.log_batch(run_id, metrics=[Metric(*value) for value in values])
        case "params":
            for pairs in _parts(list(operation["params"].items()), MAX_PARAMS_PER_CALL):
                client.log_batch(run_id, params=[Param(name, value) for name, value in pairs])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in operation["tags"].items()])
        case "datasets":
            _log_datasets(client, run_id, operation)
        case "artifact":
            source = Path(operation["file"])
            store = client.log_artifacts if source.is_dir() else client.log_artifact
            store(run_id, str(source), operation["folder"])
        case "resume":
            _resume(client, run_id, operation["tags"])
        case "end":
            client.set_terminated(run_id, operation["status"], operation["time"])
        case other:
            raise AssertionError(f"no such operation: {other}")


def _only_new(client: MlflowClient, run_id: str, operation: Operation) -> Operation:
    """Return an operation without the values that an earlier attempt at the run has stored.

    MLflow keeps the first value of a parameter, so the tag :data:`CHANGED_PARAMS` holds the values that differ.
    """
    if operation["do"] == "params":
        known = client.get_run(run_id).data.params
        given = operation["params"]
        if changed := {name: value for name, value in given.items() if known.get(name, value) != value}:
            client.set_tag(run_id, CHANGED_PARAMS, json.dumps(changed, ensure_ascii=False)[:8000])
        return {"do": "params", "params": {name: value for name, value in given.items() if name not in known}}
    logged = client.get_run(run_id).data.metrics
    names = {name for name, _, _, _ in operation["values"]} & set(logged)
    steps = {name: {point.step for point in client.get_metric_history(run_id, name)} for name in names}
    new = [value for value in operation["values"] if value[3] not in steps.get(value[0], ())]
    return {"do": "metrics", "values": new}


def _resume(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """Set a run that an earlier attempt ended to RUNNING; the same process counts as one attempt."""
    from mlflow.entities import RunTag

    earlier = client.get_run(run_id).data.tags
    attempts = int(earlier.get(ATTEMPTS, "1")) + (earlier.get(OWNER) != tags.get(OWNER))
    client.update_run(run_id, status="RUNNING")
    clear_failure(client, run_id)
    told = {**tags, ATTEMPTS: str(attempts)}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in told.items()])


def _log_datasets(client: MlflowClient, run_id: str, operation: Operation) -> None:
    """Store data sets; of two cells that store the same one at once, MLflow lets one fail.

    It looks whether there is such a data set and then inserts it. The second time it finds the other cell's.
    """
    from mlflow.exceptions import MlflowException

    datasets = [_dataset(one) for one in operation["datasets"]]
    try:
        client.log_inputs(run_id, datasets=datasets)
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        client.log_inputs(run_id, datasets=datasets)


def is_retryable(error: Exception) -> bool:
    """Tell whether an operation that failed may succeed another time: the store was at fault, not the operation."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT_ERROR_CODES
    return isinstance(error, OSError)


def is_missing(error: Exception) -> bool:
    """Return whether the store answered that a run does not exist."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


@contextmanager
def _garbage_collection_paused(client: MlflowClient) -> Iterator[None]:
    """Keep the garbage collector still while an embedded database takes values.

    Some dozens of objects are made for each value, and beside a loaded training the search for garbage among all there
    are took as long again as the work itself.
    """
    if not (client.tracking_uri.startswith("sqlite") and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def clear_failure(client: MlflowClient, run_id: str) -> None:
    """Remove the cause of an earlier end, and the description if it is that cause."""
    tags = client.get_run(run_id).data.tags
    if FAILURE_REASON in tags:
        client.delete_tag(run_id, FAILURE_REASON)
        if tags.get(DESCRIPTION) == tags[FAILURE_REASON]:
            client.delete_tag(run_id, DESCRIPTION)


def _parts(entries: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def _dataset(told: dict[str, str]) -> Any:
    """Return a data set as MLflow's, under a digest of our own: MLflow's reads the first 10,000 rows only."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(told["name"], told["digest"], "winnow", told["source"], profile=told["profile"])
    return DatasetInput(dataset, [InputTag("mlflow.data.context", told["context"])])
