"""Perform operations on a run. Operations are plain data, so that an operation can also be saved for later.

An operation is a dictionary. The entry ``do`` is the kind of operation; all other entries are arguments, including
timestamps. Operations are idempotent: MLflow stores a metric point with the same value, time and
step only once, and every other operation overwrites a value with the same value.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.tracking.keys import ATTEMPTS, CHANGED_PARAMS, FAILURE_REASON, PRUNED, RUN_OWNER

if TYPE_CHECKING:
    from mlflow import MlflowClient

Operation = dict[str, Any]

RUN_DESCRIPTION: Final = "mlflow.note.content"
"""Tag: the run's description in the MLflow UI."""

PERMANENT_ERROR_CODES: Final = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
"""MLflow error codes for invalid operations, which would fail again if retried."""

MAX_METRICS_PER_CALL: Final = 1000
"""MLflow's limit on the number of metrics per call."""

MAX_PARAMS_PER_CALL: Final = 100
"""MLflow's limit on the number of parameters per call."""


def perform_operation(client: MlflowClient, run_id: str, operation: Operation) -> None:
    """Perform one operation on a run.

    Raises:
        MlflowException: If the store rejects the operation or does not respond; see :func:`is_retryable_error`.
        OSError: If an artifact cannot be written.
    """
    from mlflow.entities import Metric, Param, RunTag

    if operation.get("only_new"):
        operation = _remove_stored_values(client, run_id, operation)
    match operation["do"]:
        case "metrics":
            for values in _split_into_batches(operation["values"], MAX_METRICS_PER_CALL):
                with _pause_garbage_collection(client):
                    client.log_batch(run_id, metrics=[Metric(*value) for value in values])
        case "params":
            for pairs in _split_into_batches(list(operation["params"].items()), MAX_PARAMS_PER_CALL):
                client.log_batch(run_id, params=[Param(name, value) for name, value in pairs])
        case "tags":
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in operation["tags"].items()])
        case "datasets":
            _log_datasets(client, run_id, operation)
        case "artifact":
            source = Path(operation["file"])
            log_function = client.log_artifacts if source.is_dir() else client.log_artifact
            log_function(run_id, str(source), operation["folder"])
        case "resume":
            _perform_resume(client, run_id, operation["tags"])
        case "end":
            client.set_terminated(run_id, operation["status"], operation["time"])
        case unknown:
            raise AssertionError(f"unknown operation: {unknown}")


def _remove_stored_values(client: MlflowClient, run_id: str, operation: Operation) -> Operation:
    """Return a copy of an operation without the values that an earlier attempt has already stored.

    MLflow keeps a parameter's first value, so any changed values are stored in the tag :data:`CHANGED_PARAMS`.
    """
    if operation["do"] == "params":
        stored_params = client.get_run(run_id).data.params
        params = operation["params"]
        if changed_params := {name: value for name, value in params.items() if stored_params.get(name, value) != value}:
            client.set_tag(run_id, CHANGED_PARAMS, json.dumps(changed_params, ensure_ascii=False)[:8000])
        return {"do": "params", "params": {name: value for name, value in params.items() if name not in stored_params}}
    stored_metrics = client.get_run(run_id).data.metrics
    names = {name for name, _, _, _ in operation["values"]} & set(stored_metrics)
    steps = {name: {point.step for point in client.get_metric_history(run_id, name)} for name in names}
    new_values = [value for value in operation["values"] if value[3] not in steps.get(value[0], ())]
    return {"do": "metrics", "values": new_values}


def _perform_resume(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """Set an ended run to RUNNING; increment the number of attempts if the owner changed."""
    from mlflow.entities import RunTag

    earlier_tags = client.get_run(run_id).data.tags
    attempts = int(earlier_tags.get(ATTEMPTS, "1")) + (earlier_tags.get(RUN_OWNER) != tags.get(RUN_OWNER))
    client.update_run(run_id, status="RUNNING")
    clear_failure(client, run_id)
    new_tags = {**tags, ATTEMPTS: str(attempts)}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in new_tags.items()])


def _log_datasets(client: MlflowClient, run_id: str, operation: Operation) -> None:
    """Log datasets, and retry once if another cell logs the same dataset concurrently.

    MLflow checks whether a dataset exists and then inserts it. If two cells log the same dataset concurrently, one
    insert fails. A retry succeeds because the dataset then exists.
    """
    from mlflow.exceptions import MlflowException

    datasets = [_to_mlflow_dataset(fields) for fields in operation["datasets"]]
    try:
        client.log_inputs(run_id, datasets=datasets)
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        client.log_inputs(run_id, datasets=datasets)


def is_retryable_error(error: Exception) -> bool:
    """Return whether a retry may succeed: the error was caused by the store and not by an invalid operation."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code not in PERMANENT_ERROR_CODES
    return isinstance(error, OSError)


def is_missing_run_error(error: Exception) -> bool:
    """Return whether an error means that a run does not exist."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


@contextmanager
def _pause_garbage_collection(client: MlflowClient) -> Iterator[None]:
    """Disable the garbage collector while an embedded database stores metrics.

    MLflow creates dozens of objects per metric. If a model is in memory, the garbage collections that these objects
    trigger double the duration of a call.
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
    """Remove an earlier attempt's failure reason, a description that repeats it, and the tag of pruned runs."""
    tags = client.get_run(run_id).data.tags
    if PRUNED in tags:
        client.delete_tag(run_id, PRUNED)
    if FAILURE_REASON in tags:
        client.delete_tag(run_id, FAILURE_REASON)
        if tags.get(RUN_DESCRIPTION) == tags[FAILURE_REASON]:
            client.delete_tag(run_id, RUN_DESCRIPTION)


def _split_into_batches(entries: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [entries[start : start + size] for start in range(0, len(entries), size)]


def _to_mlflow_dataset(fields: dict[str, str]) -> Any:
    """Return an MLflow dataset with Winnow's digest; MLflow's own digest covers only the first 10,000 rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(fields["name"], fields["digest"], "winnow", fields["source"], profile=fields["profile"])
    return DatasetInput(dataset, [InputTag("mlflow.data.context", fields["context"])])
