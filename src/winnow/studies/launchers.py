"""Launchers, which run a study's cells. Each class is an option of the config group `launcher`.

The functions import jobs when they are called, so that a configuration is validated without importing the pipeline.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.studies.process_state import preserve_process_state
from winnow.studies.subprocess_runner import PROCESS_POLL_SECONDS, run_processes

if TYPE_CHECKING:
    from winnow.studies.job import Job

FORBID_EXTRA = ConfigDict(extra="forbid")
EndedJobs: TypeAlias = "Generator[Job, None, None]"


class Launcher(ABC):
    """Runs a study's jobs."""

    @property
    def max_parallel_cells(self) -> int:
        """The maximum number of cells that run in parallel."""
        return 1

    @property
    def processes_per_cell(self) -> int:
        """The number of processes that train one cell."""
        return 1

    @property
    def uses_this_machine(self) -> bool:
        """Whether the cells run on this machine."""
        return True

    def check(self) -> list[WinnowError]:
        """Return the errors that would prevent launching jobs."""
        return []

    def with_workers(self, count: int) -> Launcher:
        """Return this launcher with a number of parallel cells, if the user has not set the number."""
        return self

    @abstractmethod
    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Run all jobs, and yield each job with its final status after the job has ended.

        Closing the generator early stops the running jobs.
        """


@dataclass(frozen=True, config=FORBID_EXTRA)
class InProcess(Launcher):
    """Runs cells one after another in the study's own process."""

    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Run the jobs in order."""
        from winnow.studies.job import run_job

        for job in jobs:
            with preserve_process_state():
                run_job(job)
            yield job


@dataclass(frozen=True, config=FORBID_EXTRA)
class Joblib(Launcher):
    """Runs several cells in parallel on this machine, in joblib worker processes.

    Each worker runs several cells one after another, so torch is imported once per worker instead of once per cell.
    With one worker, the cells run in the study's own process.

    Attributes:
        workers: Number of workers; `null` selects it from the cores, the free memory and the estimated time of a cell.
    """

    workers: PositiveInt | None = None

    @property
    def max_parallel_cells(self) -> int:
        """The number of workers."""
        return self.workers or 1

    def with_workers(self, count: int) -> Joblib:
        """Return this launcher with a number of workers, if the user has not set the number."""
        return Joblib(self.workers or count)

    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Run the jobs with joblib; if a worker is killed, start new workers for the jobs that have not started."""
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        if self.max_parallel_cells == 1:
            yield from InProcess().launch(jobs)
            return
        remaining_jobs = {job.file: job for job in jobs}
        while remaining_jobs:
            # Build a list, because `remaining_jobs` changes while joblib iterates over the tasks.
            tasks = [joblib.delayed(_run_in_worker)(file) for file in remaining_jobs]
            try:
                with joblib.parallel_config("loky", inner_max_num_threads=self._count_threads(jobs)):
                    pool = joblib.Parallel(
                        self.max_parallel_cells, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
                    )
                    for file in pool(tasks):
                        yield remaining_jobs.pop(file)
            except TerminatedWorkerError:
                for job in [job for job in remaining_jobs.values() if job.status.state != "waiting"]:
                    job.finalize("its process was killed, possibly because the machine ran out of memory")
                    yield remaining_jobs.pop(job.file)

    def _count_threads(self, jobs: Sequence[Job]) -> int:
        """Return the number of threads of a worker: the largest number of any cell, or an equal share of the cores."""
        import joblib

        threads = [job.cell.config.numerics.threads or 0 for job in jobs]
        return max(threads) or max(1, joblib.cpu_count() // self.max_parallel_cells)


@dataclass(frozen=True, config=FORBID_EXTRA)
class Devices(Launcher):
    """Runs one cell per CUDA device, each in a separate process, on all devices in parallel.

    Attributes:
        devices: Indices or names of the devices, as in `CUDA_VISIBLE_DEVICES`; `null` uses all devices.
    """

    devices: list[int | str] | None = None

    @property
    def max_parallel_cells(self) -> int:
        """The number of devices."""
        return len(self._list_devices())

    def check(self) -> list[WinnowError]:
        """Return an error if there is no device."""
        if self._list_devices():
            return []
        message = (
            "no CUDA device is available. List the devices, as in launcher.devices=[0,1], or choose launcher=joblib."
        )
        return [WinnowError(message, "devices")]

    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Run the jobs, starting the next job whenever a device becomes free."""
        threads = max(1, (os.cpu_count() or 1) // self.max_parallel_cells)
        environments = [
            {"CUDA_VISIBLE_DEVICES": name, "OMP_NUM_THREADS": str(threads)} for name in self._list_devices()
        ]
        return run_processes(jobs, environments, lambda job: ["-m", "winnow.studies.job", str(job.file)])

    def _list_devices(self) -> list[str]:
        if self.devices is not None:
            return [str(device) for device in self.devices]
        if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
            return [name for name in visible.split(",") if name not in ("", "-1")]
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]


@dataclass(frozen=True, config=FORBID_EXTRA)
class Torchrun(Launcher):
    """Trains each cell with several processes on this machine, started by torchrun; requires `trainer=ddp`.

    Attributes:
        processes_per_cell: Number of processes that train one cell, each on one device.
        cells: Number of cells that run in parallel.
    """

    processes_per_cell: PositiveInt = 2
    cells: PositiveInt = 1

    @property
    def max_parallel_cells(self) -> int:
        """The number of cells that run in parallel."""
        return self.cells

    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Start one torchrun instance per job; each instance selects a free port."""
        threads = max(1, (os.cpu_count() or 1) // (self.cells * self.processes_per_cell))
        environments = [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}] * self.cells
        torchrun_arguments = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc_per_node={self.processes_per_cell}",
        ]
        return run_processes(
            jobs, environments, lambda job: [*torchrun_arguments, "-m", "winnow.studies.job", str(job.file)]
        )


@dataclass(frozen=True, config=FORBID_EXTRA)
class Submitit(Launcher):
    """Runs each cell as a cluster job with submitit.

    Attributes:
        cluster: `slurm`, or `local` to test without a cluster.
        cells: Maximum number of jobs that are queued or running at the same time.
        parameters: Resources requested for each job, such as `timeout_min`, `mem_gb` or `slurm_partition`.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    cells: PositiveInt = 32
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def max_parallel_cells(self) -> int:
        """The maximum number of jobs that are queued or running at the same time."""
        return self.cells

    @property
    def uses_this_machine(self) -> bool:
        """Whether the cells run on this machine, and not on a cluster."""
        return self.cluster == "local"

    def check(self) -> list[WinnowError]:
        """Return an error if submitit or Slurm is not installed, or if submitit rejects the parameters."""
        if errors := _find_missing_package("submitit", "slurm"):
            return errors
        if self.cluster == "slurm" and shutil.which("srun") is None:
            message = (
                "the command srun is not available, so no job can be submitted. Start the study on a cluster node, "
                " or choose launcher=submitit_local or launcher=joblib."
            )
            return [WinnowError(message, "cluster")]
        import submitit

        try:
            with tempfile.TemporaryDirectory() as folder:
                submitit.AutoExecutor(folder=folder, cluster=self.cluster).update_parameters(**self.parameters)
        except Exception as error:  # the exception type depends on the cluster and the parameter
            reason = " ".join(str(error).split()).partition(" As a reminder")[0][:300]
            return [
                WinnowError(
                    f"submitit rejected the launcher's parameters: {reason}. Correct or remove these parameters.",
                    "parameters",
                )
            ]
        return []

    def launch(self, jobs: Sequence[Job]) -> EndedJobs:
        """Submit the jobs and poll them until they end."""
        import submitit

        executor = submitit.AutoExecutor(folder=jobs[0].folder.parents[1] / "submitit", cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        waiting_jobs = deque(jobs)
        running_jobs: list[tuple[Job, Any]] = []
        try:
            while waiting_jobs or running_jobs:
                while waiting_jobs and len(running_jobs) < self.cells:
                    job = waiting_jobs.popleft()
                    running_jobs.append((job, executor.submit(_run_in_worker, job.file, False)))
                for job, cluster_job in [pair for pair in running_jobs if pair[1].done()]:
                    running_jobs.remove((job, cluster_job))
                    job.finalize(f"cluster job {cluster_job.job_id} ended with state {cluster_job.state}")
                    yield job
                time.sleep(PROCESS_POLL_SECONDS)
        finally:
            for _, cluster_job in running_jobs:
                cluster_job.cancel()


def _find_missing_package(package: str, extra: str) -> list[WinnowError]:
    if find_spec(package) is not None:
        return []
    message = f"this launcher requires the package {package}. Install it: pip install 'winnow-mlm[{extra}]'."
    return [WinnowError(message, "_target_")]


def _run_in_worker(file: Path, end_with_study: bool = True) -> Path:
    """Run a job from its file; if `end_with_study` is true, terminate this worker when the study's process ends."""
    from winnow.studies.job import Job, run_job, terminate_with_parent

    parent = os.getppid()
    if end_with_study:
        terminate_with_parent(parent)
    try:
        with preserve_process_state():
            run_job(Job.load(file))
    except SystemExit as exit_signal:
        if end_with_study and os.getppid() != parent:  # the pool ignores SystemExit and would wait for minutes
            os._exit(exit_signal.code if isinstance(exit_signal.code, int) else 1)
        raise
    return file
