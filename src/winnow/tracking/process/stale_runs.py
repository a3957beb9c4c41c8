"""Find and close stale runs: runs with the status RUNNING whose process no longer exists."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from winnow.tracking.keys import FAILURE_REASON, HEARTBEAT, RUN_OWNER
from winnow.tracking.offline.run_operations import RUN_DESCRIPTION, perform_operation
from winnow.tracking.process.run_ownership import RunOwner
from winnow.tracking.run_queries import search_runs
from winnow.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def close_stale_runs(store: Store, experiment_id: str) -> list[str]:
    """End every RUNNING run of an experiment whose process no longer exists.

    Runs that may still be alive (see :meth:`RunOwner.termination_reason`) and runs that other programs created are not
    changed.

    Returns:
        One line per ended run, with its name, id and failure reason.
    """
    client = store.client()
    return [
        f"{run.info.run_name} ({run.info.run_id}): {reason}"
        for run in search_runs(client, [experiment_id], "attributes.status = 'RUNNING'")
        if (reason := close_if_stale(client, run))
    ]


def close_if_stale(client: MlflowClient, run: Run) -> str | None:
    """End a RUNNING run whose process no longer exists; a run that has already ended keeps its status.

    Returns:
        Why the run was ended, or `None` if it was not changed.
    """
    if reason := termination_reason(run):
        set_reason = {"do": "tags", "tags": {FAILURE_REASON: reason, RUN_DESCRIPTION: reason}}
        for operation in (set_reason, {"do": "end", "status": "KILLED", "time": last_heartbeat_time(run)}):
            perform_operation(client, run.info.run_id, operation)
    return reason


def termination_reason(run: Run) -> str | None:
    """Return why a RUNNING run's process must have ended; `None` if it may be alive or the run has already ended."""
    owner = run.data.tags.get(RUN_OWNER)
    if owner is None or run.info.status != "RUNNING":
        return None
    seconds_since_heartbeat = time.time() - last_heartbeat_time(run) / 1000
    return RunOwner.from_tag(owner).termination_reason(run.info.run_id, seconds_since_heartbeat)


def last_heartbeat_time(run: Run) -> int:
    """Return the time of a run's last heartbeat in milliseconds since 1970."""
    return int(run.data.tags.get(HEARTBEAT, run.info.start_time))
