"""Sending what stores did not take while runs went on."""

from __future__ import annotations

import time
from pathlib import Path

from winnow.errors import WinnowError
from winnow.tracking.keys import OWNER
from winnow.tracking.offline.spool import Unsent, is_offline
from winnow.tracking.process.ownership import Owner
from winnow.tracking.process.stale import close_if_dead
from winnow.tracking.store import Store
from winnow.tracking.store_errors import explain


def sync(store: Store) -> list[str]:
    """Send everything that waits for a store, with its original times; to do so twice changes nothing.

    Runs that still go on are left to themselves: they send what they kept.

    Returns:
        A line for each run: what became of it.

    Raises:
        WinnowError: The store does not answer. What was not sent stays where it is.
    """
    from filelock import FileLock

    waiting = [path.parent for path in store.unsent_folder.glob("*/run.json")]
    if not waiting:
        return []
    client = store.client()
    told = []
    with FileLock(store.unsent_folder / "sync.lock"):
        # Parents first, since a run may have to be shown under one that the store does not know yet.
        for unsent in sorted(map(Unsent, filter(Path.exists, waiting)), key=lambda one: one.beginning.time):
            beginning = unsent.beginning
            name = f"{beginning.name} ({beginning.run_id})"
            if _goes_on(unsent):
                told.append(f"{name} still goes on, and sends what it kept itself")
                continue
            try:
                run_id = unsent.send(client)
                close_if_dead(client, client.get_run(run_id))
            except WinnowError:
                raise
            except Exception as error:
                raise WinnowError(
                    f"{name} could not be sent: {explain(store.uri, error).message} It stays in {unsent.folder}, which "
                    "you may delete to give it up."
                ) from error
            told.append(f"{beginning.name} was sent" + (f" as {run_id}" if is_offline(beginning.run_id) else ""))
    return told


def _goes_on(unsent: Unsent) -> bool:
    """Tell whether the run's process may still write to the folder."""
    ends = [operation["do"] for operation in unsent.operations() if operation["do"] in ("end", "resume")]
    if ends and ends[-1] == "end":
        return False
    files = [unsent.folder, *unsent.folder.glob("*.jsonl")]
    silent = time.time() - max(file.stat().st_mtime for file in files)
    beginning = unsent.beginning
    return Owner.from_tag(beginning.tags[OWNER]).why_dead(beginning.run_id, silent) is None
