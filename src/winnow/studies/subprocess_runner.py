"""Run jobs as processes on this machine, with a limit on the number of parallel processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.studies.job import Job

PROCESS_POLL_SECONDS = 0.2
"""Interval in seconds between two checks for jobs that have ended."""

TERMINATION_TIMEOUT_SECONDS = 30
"""Seconds that a process has after SIGTERM to close its run before the process is killed."""


def run_processes(
    jobs: Sequence[Job], environments: Sequence[Mapping[str, str]], command: Callable[[Job], list[str]]
) -> Generator[Job, None, None]:
    """Run each job in a separate process, with at most one running process per environment.

    Args:
        jobs: The jobs, in the order in which they start.
        environments: Sets of environment variables. Each set is used by one process at a time.
        command: A function that returns a job's command-line arguments for Python.

    Yields:
        Each job after its process has ended.
    """
    waiting_jobs, free_environments = deque(jobs), deque(environments)
    running_jobs: list[tuple[Job, Mapping[str, str], subprocess.Popen[bytes]]] = []
    try:
        while waiting_jobs or running_jobs:
            while waiting_jobs and free_environments:
                job, environment = waiting_jobs.popleft(), free_environments.popleft()
                running_jobs.append((job, environment, _start_process(job, environment, command(job))))
            for entry in [entry for entry in running_jobs if entry[2].poll() is not None]:
                running_jobs.remove(entry)
                job, environment, process = entry
                free_environments.append(environment)
                job.finalize(_describe_exit(process.returncode))
                yield job
            time.sleep(PROCESS_POLL_SECONDS)
    finally:
        for _, _, process in running_jobs:
            process.terminate()
        for _, _, process in running_jobs:
            try:
                process.wait(TERMINATION_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _start_process(job: Job, environment: Mapping[str, str], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a job with a pipe as standard input; when the study ends, the pipe closes and the job terminates."""
    environment = {
        **os.environ,
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONSAFEPATH": "1",
    }
    with job.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - the arguments are not user input
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _describe_exit(code: int) -> str:
    if code == -9:
        return "its process was killed, possibly because the machine ran out of memory"
    return f"its process ended with signal {-code}" if code < 0 else f"its process ended with exit code {code}"
