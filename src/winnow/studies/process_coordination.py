"""Coordinate processes that run the same study.

One process tracks the study's parent run; each process waits for the cells that other processes are training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from winnow.data.fingerprint import fingerprint
from winnow.run.cell_lock import is_cell_locked
from winnow.studies.job import FINAL_STATES, Job, find_newest_attempt
from winnow.studies.study_declaration import find_declared_run
from winnow.tracking import Store, TrackedRun, keys, track
from winnow.tracking.process.stale_runs import termination_reason

OTHER_PROCESS_POLL_SECONDS: Final = 2.0
"""Interval in seconds between two checks of the cells that other processes are training."""


@dataclass(frozen=True)
class StudyParentRun:
    """A study's parent run.

    Attributes:
        run_id: The id of the run.
        run: The run, or `None` if another process tracks the run.
    """

    run_id: str
    run: TrackedRun | None


@contextmanager
def track_study_run(
    store: Store,
    title: str,
    declaration: Mapping[str, Any],
    folder: Path,
    kind: Literal["study", "search"] = "study",
) -> Iterator[StudyParentRun]:
    """Track a study's parent run, which stores the declaration; resume the last run if its declaration is identical.

    Args:
        store: The store that contains the run.
        title: The name of the run.
        declaration: The study's declaration.
        folder: The study's folder.
        kind: Whether the run belongs to a study or to a search.

    Yields:
        The run, or only the run's id if another process is running the same study.
    """
    from filelock import FileLock

    study = declaration["study"]
    experiment = store.experiment(study)
    tags = {keys.KIND: kind, keys.STUDY: study, keys.DECLARATION_FINGERPRINT: fingerprint(declaration)}
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with FileLock(folder / "declaration.lock"):
            last_run_id = find_declared_run(store, experiment, tags[keys.DECLARATION_FINGERPRINT], kind)
            if last_run_id is not None and _is_alive(store, last_run_id):
                study_run = StudyParentRun(last_run_id, None)
            else:
                run = stack.enter_context(track(store, experiment, title, tags, run_id=last_run_id))
                if last_run_id is None:
                    run.log_json(declaration, keys.DECLARATION if kind == "study" else keys.SEARCH)
                study_run = StudyParentRun(run.run_id, run)
        yield study_run


def _is_alive(store: Store, run_id: str) -> bool:
    run = store.client().get_run(run_id)
    return run.info.status == "RUNNING" and not termination_reason(run)


def wait_for_other_processes(jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
    """Wait until another process has finished or abandoned at least one of the jobs.

    Returns:
        The jobs that have ended, and the abandoned jobs, which are unfinished and no longer have a process.
    """
    while True:
        unlocked_jobs = [job for job in jobs if not is_cell_locked(job.folder)]
        ended_jobs = [job for job in unlocked_jobs if job.status.state in FINAL_STATES]
        abandoned_jobs = [job for job in unlocked_jobs if job not in ended_jobs and not _is_training_elsewhere(job)]
        if ended_jobs or abandoned_jobs:
            return ended_jobs, abandoned_jobs
        time.sleep(OTHER_PROCESS_POLL_SECONDS)


def _is_training_elsewhere(job: Job) -> bool:
    """Return whether a process on another machine with a separate file system is training the cell."""
    if job.status.state != "elsewhere":
        return False
    attempt = find_newest_attempt(job)
    return attempt is not None and attempt.is_alive
