"""Sending what stores did not take while runs went on."""

from __future__ import annotations

import time
from pathlib import Path

from winnow.errors import WinnowError
from winnow.tracking.keys import OWNER
from winnow.tracking.offline.spool import Spool, is_offline
from winnow.tracking.process.ownership import RunOwner
from winnow.tracking.process.stale_runs import close_if_stale
from winnow.tracking.store import Store
from winnow.tracking.store_errors import build_store_error


def sync(store: Store) -> list[str]:
    """Send everything that waits for a store, with its original times; to do so twice changes nothing.

    Runs that still go on are left to themselves: they send what they kept.

    Returns:
        A line for each run: what became of it.

    Raises:
        WinnowError: The store does not answer. What was not sent stays where it is.
    """
    from filelock import FileLock

    waiting = [path.parent for path in store.spool_folder.glob("*/run.json")]
    if not waiting:
        return []
    client = store.client()
    told = []
    with FileLock(store.spool_folder / "sync.lock"):
        # Parents first, since a run may have to be shown under one that the store does not know yet.
        for spool in sorted(map(Spool, filter(Path.exists, waiting)), key=lambda one: one.run_start.time):
            run_start = spool.run_start
            name = f"{run_start.name} ({run_start.run_id})"
            if _goes_on(spool):
                told.append(f"{name} still goes on, and sends what it kept itself")
                continue
            try:
                run_id = spool.send(client)
                close_if_stale(client, client.get_run(run_id))
            except WinnowError:
                raise
            except Exception as error:
                raise WinnowError(
                    f"{name} could not be sent: {build_store_error(store.uri, error).message} It stays in "
                    f"{spool.folder}. Run winnow sync again later, or delete that folder to discard the data."
                ) from error
            told.append(f"{run_start.name} was sent" + (f" as {run_id}" if is_offline(run_start.run_id) else ""))
    return told


def _goes_on(spool: Spool) -> bool:
    """Tell whether the run's process may still write to the folder."""
    ends = [operation["do"] for operation in spool.operations() if operation["do"] in ("end", "resume")]
    if ends and ends[-1] == "end":
        return False
    files = [spool.folder, *spool.folder.glob("*.jsonl")]
    silent = time.time() - max(file.stat().st_mtime for file in files)
    run_start = spool.run_start
    return RunOwner.from_tag(run_start.tags[OWNER]).termination_reason(run_start.run_id, silent) is None
