"""Runs whose process died without a word: found at the next start, and ended with the cause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from winnow.tracking.keys import FAILURE_REASON, HEARTBEAT, OWNER
from winnow.tracking.offline.operations import DESCRIPTION, perform
from winnow.tracking.process.ownership import RunOwner
from winnow.tracking.query import search_runs
from winnow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def close_stale_runs(store: Store, experiment_id: str) -> list[str]:
    """End every run of an experiment that is marked RUNNING and whose process is gone.

    Runs that may still be alive (see :meth:`RunOwner.termination_reason`) and runs of other programs stay unchanged.

    Returns:
        A line for each run that was ended: its name, id and cause.
    """
    client = store.client()
    return [
        f"{run.info.run_name} ({run.info.run_id}): {cause}"
        for run in search_runs(client, [experiment_id], "attributes.status = 'RUNNING'")
        if (cause := close_if_stale(client, run))
    ]


def close_if_stale(client: MlflowClient, run: Run) -> str | None:
    """End a RUNNING run whose process is gone, and return the cause; `None` if the run is not changed.

    A run that has ended keeps its status, although its process is gone.
    """
    if cause := termination_reason(run):
        tags = {"do": "tags", "tags": {FAILURE_REASON: cause, DESCRIPTION: cause}}
        for operation in (tags, {"do": "end", "status": "KILLED", "time": last_heartbeat(run)}):
            perform(client, run.info.run_id, operation)
    return cause


def termination_reason(run: Run) -> str | None:
    """Return why the process of a RUNNING run is known to be gone; `None` where it may live, or the run has ended."""
    owner = run.data.tags.get(OWNER)
    if owner is None or run.info.status != "RUNNING":
        return None
    silent = time.time() - last_heartbeat(run) / 1000
    return RunOwner.from_tag(owner).termination_reason(run.info.run_id, silent)


def last_heartbeat(run: Run) -> int:
    """Return the last sign of life of a run, in milliseconds since 1970."""
    return int(run.data.tags.get(HEARTBEAT, run.info.start_time))
