"""Several processes on one study: who keeps its record, and how one waits for the cells of the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from winnow.data.fingerprint import fingerprint
from winnow.run.cell_lock import is_taken
from winnow.studies.job import Job, newest_attempt
from winnow.studies.protocol import earlier_run
from winnow.tracking import Store, TrackedRun, keys, track
from winnow.tracking.process.stale import cause_of_death

POLL_SECONDS: Final = 2.0
"""Time between two looks at the cells of other processes."""


@dataclass(frozen=True)
class StudyRun:
    """The run of a whole study.

    Attributes:
        run_id: Its id.
        run: The run; `None` if another process keeps it.
    """

    run_id: str
    run: TrackedRun | None


@contextmanager
def declared_run(store: Store, title: str, declaration: Mapping[str, Any], folder: Path) -> Iterator[StudyRun]:
    """Track a study's own run, which stores its declaration; resume it if the study was declared just so last time.

    Args:
        store: Where runs are kept.
        title: Name of the run.
        declaration: What the study declares.
        folder: The study's folder.

    Yields:
        The run; only its id if another process works on the same study, which this one then joins.
    """
    from filelock import FileLock

    study = declaration["study"]
    experiment = store.experiment(study)
    tags = {keys.KIND: "study", keys.STUDY: study, keys.DECLARED: fingerprint(declaration)}
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with FileLock(folder / "declaration.lock"):
            earlier = earlier_run(store, experiment, tags[keys.DECLARED])
            if earlier is not None and _is_alive(store, earlier):
                found = StudyRun(earlier, None)
            else:
                run = stack.enter_context(track(store, experiment, title, tags, run_id=earlier))
                if earlier is None:
                    run.log_json(declaration, keys.DECLARATION)
                found = StudyRun(run.run_id, run)
        yield found


def _is_alive(store: Store, run_id: str) -> bool:
    run = store.client().get_run(run_id)
    return run.info.status == "RUNNING" and not cause_of_death(run)


def wait_for_others(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Wait until other processes have ended a cell, or given one up.

    Returns:
        The jobs that have ended there, and those that no process works on any more although they have not.
    """
    while True:
        resting = [job for job in jobs if not is_taken(job.folder)]
        ended = [job for job in resting if job.status.state in ("finished", "failed")]
        free = [job for job in resting if job not in ended and not _goes_on(job)]
        if ended or free:
            return ended, free
        time.sleep(POLL_SECONDS)


def _goes_on(job: Job) -> bool:
    """Return whether a process on another machine, with a folder of its own, trains the cell."""
    if job.status.state != "elsewhere":
        return False
    attempt = newest_attempt(job)
    return attempt is not None and attempt.is_alive
