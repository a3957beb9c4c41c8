"""Jobs as processes of this machine, a few at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence

from winnow.studies.job import Job

LOOK_SECONDS = 0.2
"""Time between two looks at what has ended."""

PATIENCE_SECONDS = 30
"""How long a process that was asked to end may take to close its run."""


def run_processes(
    jobs: Sequence[Job], places: Sequence[Mapping[str, str]], command: Callable[[Job], list[str]]
) -> Generator[Job, None, None]:
    """Run each job in a process of its own, as many at a time as there are places.

    Args:
        jobs: The jobs, in the order in which they start.
        places: The environment of each place.
        command: What Python is called with for a job.
    """
    waiting, free = deque(jobs), deque(places)
    running: list[tuple[Job, Mapping[str, str], subprocess.Popen[bytes]]] = []
    try:
        while waiting or running:
            while waiting and free:
                job, place = waiting.popleft(), free.popleft()
                running.append((job, place, _start(job, place, command(job))))
            for one in [one for one in running if one[2].poll() is not None]:
                running.remove(one)
                job, place, process = one
                free.append(place)
                job.settle(_how_it_ended(process.returncode))
                yield job
            time.sleep(LOOK_SECONDS)
    finally:
        for _, _, process in running:
            process.terminate()
        for _, _, process in running:
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _start(job: Job, place: Mapping[str, str], arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start Python on a job, with a pipe whose end tells it that the study is gone."""
    environment = {**os.environ, **place, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    with job.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own module, on a file of our own
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _how_it_ended(code: int) -> str:
    if code == -9:
        return "its process was killed from outside, perhaps for want of memory"
    return f"its process ended by signal {-code}" if code < 0 else f"its process ended with exit code {code}"
