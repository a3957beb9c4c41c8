"""Where the cells of a study run: the choices of the group `launcher`."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.studies.isolation import unchanged_process
from winnow.studies.job import Job, end_with_parent, run_job
from winnow.studies.processes import LOOK_SECONDS, run_processes

Count = Annotated[int, Field(gt=0)]
STRICT = ConfigDict(extra="forbid")
Jobs = Generator[Job, None, None]


class Launcher(ABC):
    """Runs the jobs of a study somewhere."""

    @property
    def at_once(self) -> int:
        """How many jobs run at a time."""
        return 1

    @property
    def processes(self) -> int:
        """How many processes train one cell together."""
        return 1

    def check(self) -> list[WinnowError]:
        """Return what is missing here, before any work."""
        return []

    @abstractmethod
    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Run all jobs and yield each when it has ended; its status then says how.

        To close the iterator before its end stops the jobs that still run.
        """


@dataclass(frozen=True, config=STRICT)
class InProcess(Launcher):
    """One cell after the other, in the study's own process."""

    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Run the jobs in their order."""
        for job in jobs:
            with unchanged_process():
                run_job(job)
            yield job


@dataclass(frozen=True, config=STRICT)
class Joblib(Launcher):
    """Several cells at a time on this machine, in worker processes that share out its cores.

    A worker takes one cell after the other, so that torch is loaded once a worker and not once a cell.

    Attributes:
        workers: Cells at a time; `null` takes one for every two cores.
        threads: Threads of each worker; `null` shares out the cores.
    """

    workers: Count | None = None
    threads: Count | None = None

    @property
    def at_once(self) -> int:
        """The number of workers."""
        import joblib

        return self.workers or max(1, joblib.cpu_count() // 2)

    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Run the jobs by joblib; should a worker be killed, what it had not begun goes to new ones."""
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        if self.at_once == 1:  # joblib starts no process for a single worker, and so heeds no number of threads
            with _threads(self.threads):
                yield from InProcess().launch(jobs)
            return
        left = {job.file: job for job in jobs}
        threads = self.threads or max(1, joblib.cpu_count() // self.at_once)
        while left:
            # A list: joblib asks for the next one when others have already been taken out.
            work = [joblib.delayed(_run_in_worker)(file) for file in left]
            try:
                with joblib.parallel_config("loky", inner_max_num_threads=threads):
                    pool = joblib.Parallel(
                        self.at_once, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
                    )
                    for file in pool(work):
                        yield left.pop(file)
            except TerminatedWorkerError:
                for job in [job for job in left.values() if job.status.state != "waiting"]:
                    job.settle("its process was killed from outside, perhaps for want of memory")
                    yield left.pop(job.file)


@dataclass(frozen=True, config=STRICT)
class Devices(Launcher):
    """One process a cell and one cell a CUDA device, all devices at the same time.

    Attributes:
        devices: Numbers or names of the devices, as `CUDA_VISIBLE_DEVICES` takes them; `null` takes all there are.
    """

    devices: list[int | str] | None = None

    @property
    def at_once(self) -> int:
        """The number of devices."""
        return len(self._names())

    def check(self) -> list[WinnowError]:
        """Return an error where there is no device."""
        if self._names():
            return []
        told = "no CUDA device was found. Name them as in launcher.devices=[0,1], or choose launcher=joblib."
        return [WinnowError(told, "devices")]

    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Give each free device the next job."""
        threads = max(1, (os.cpu_count() or 1) // self.at_once)
        places = [{"CUDA_VISIBLE_DEVICES": name, "OMP_NUM_THREADS": str(threads)} for name in self._names()]
        return run_processes(jobs, places, lambda job: ["-m", "winnow.studies.job", str(job.file)])

    def _names(self) -> list[str]:
        if self.devices is not None:
            return [str(device) for device in self.devices]
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            return [name for name in visible.split(",") if name not in ("", "-1")]
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]


@dataclass(frozen=True, config=STRICT)
class Torchrun(Launcher):
    """Each cell trained by several processes of this machine together, started by torchrun; see `trainer=ddp`.

    Attributes:
        processes_per_cell: Processes that train one cell, one a device.
        cells: Cells at a time.
    """

    processes_per_cell: Count = 2
    cells: Count = 1

    @property
    def at_once(self) -> int:
        """Cells at a time."""
        return self.cells

    @property
    def processes(self) -> int:
        """Processes that train one cell."""
        return self.processes_per_cell

    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Start a torchrun for each job; each finds a free port of its own."""
        threads = max(1, (os.cpu_count() or 1) // (self.cells * self.processes))
        places = [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}] * self.cells
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={self.processes}"]
        return run_processes(jobs, places, lambda job: [*start, "-m", "winnow.studies.job", str(job.file)])


@dataclass(frozen=True, config=STRICT)
class Submitit(Launcher):
    """Each cell a job of a cluster, by submitit.

    Attributes:
        cluster: `slurm`, or `local` to try it without one.
        cells: Jobs at a time.
        parameters: What submitit asks the cluster for, as `timeout_min`, `mem_gb` or `slurm_partition`.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    cells: Count = 32
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """Jobs at a time, where the cluster has room for them."""
        return self.cells

    def launch(self, jobs: Sequence[Job]) -> Jobs:
        """Submit the jobs, and look for their ends."""
        import submitit

        executor = submitit.AutoExecutor(folder=jobs[0].folder.parents[1] / "submitit", cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        waiting = deque(jobs)
        running: list[tuple[Job, Any]] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.cells:
                    job = waiting.popleft()
                    running.append((job, executor.submit(_run_in_worker, job.file, False)))
                for job, submitted in [pair for pair in running if pair[1].done()]:
                    running.remove((job, submitted))
                    job.settle(f"the cluster's job {submitted.job_id} ended {submitted.state}")
                    yield job
                time.sleep(LOOK_SECONDS)
        finally:
            for _, submitted in running:
                submitted.cancel()


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let torch compute with so many threads in this process, where a number is given."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_in_worker(file: Path, waited_for: bool = True) -> Path:
    """Run a job from its file; where the study waits for its end, a worker ends when the study's process does."""
    parent = os.getppid()
    if waited_for:
        end_with_parent(parent)
    try:
        with unchanged_process():
            run_job(Job.load(file))
    except SystemExit as stop:
        if waited_for and os.getppid() != parent:  # the pool would ignore it, and wait for the study for minutes
            os._exit(stop.code if isinstance(stop.code, int) else 1)
        raise
    return file
