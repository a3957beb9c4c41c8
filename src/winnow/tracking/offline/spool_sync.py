"""Send spooled operations to a store after their runs have ended."""

from __future__ import annotations

import time
from pathlib import Path

from winnow.errors import WinnowError
from winnow.tracking.keys import RUN_OWNER
from winnow.tracking.offline.spool import Spool, is_offline_run_id
from winnow.tracking.process.run_ownership import RunOwner
from winnow.tracking.process.stale_runs import close_if_stale
from winnow.tracking.store import Store
from winnow.tracking.store_errors import build_store_error


def sync(store: Store) -> list[str]:
    """Send all of a store's spooled operations with their original timestamps.

    Repeated calls are safe, because sending an operation twice has no effect.

    Runs that are still active are skipped, because their own processes send these operations.

    Returns:
        One status line per run.

    Raises:
        WinnowError: If the store does not respond. Operations that were not sent stay in the spool.
    """
    from filelock import FileLock

    folders = [path.parent for path in store.spool_folder.glob("*/run.json")]
    if not folders:
        return []
    client = store.client()
    status_lines = []
    with FileLock(store.spool_folder / "sync.lock"):
        # Sort by start time: a parent run must be created before its child runs, which contain the parent's id.
        for spool in sorted(map(Spool, filter(Path.exists, folders)), key=lambda spool: spool.read_run_start().time):
            run_start = spool.read_run_start()
            name = f"{run_start.name} ({run_start.run_id})"
            if _is_active(spool):
                status_lines.append(f"{name} is still active and sends its own operations")
                continue
            try:
                run_id = spool.send(client)
                close_if_stale(client, client.get_run(run_id))
            except WinnowError:
                raise
            except Exception as error:
                raise WinnowError(
                    f"{name} could not be sent: {build_store_error(store.uri, error).message} Its data stays in "
                    f"{spool.folder}. Run winnow sync again later, or delete that folder to discard the data."
                ) from error
            status_lines.append(
                f"{run_start.name} was sent" + (f" as {run_id}" if is_offline_run_id(run_start.run_id) else "")
            )
    return status_lines


def _is_active(spool: Spool) -> bool:
    """Return whether the process that owns a spool's run may still write to the spool."""
    status_changes = [operation["do"] for operation in spool.operations() if operation["do"] in ("end", "resume")]
    if status_changes and status_changes[-1] == "end":
        return False
    files = [spool.folder, *spool.folder.glob("*.jsonl")]
    seconds_since_write = time.time() - max(file.stat().st_mtime for file in files)
    run_start = spool.read_run_start()
    return (
        RunOwner.from_tag(run_start.tags[RUN_OWNER]).termination_reason(run_start.run_id, seconds_since_write) is None
    )
