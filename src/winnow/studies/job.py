"""A cell as a job that a launcher can run in any process: `python -m winnow.studies.job FILE`.

A job runs in the study's process, in another process, or on another machine with the same file system. Each job is
stored as a YAML file in the cell's folder. The job's output and tracebacks are written to `log.txt`, and its state is
written to `status.json`.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any, Final, Literal

import yaml

from winnow.config import ComposedCell, TrainConfig
from winnow.config.validate import validate_against_schema
from winnow.errors import RunPruned, WinnowError, WinnowErrors
from winnow.run.cell_lock import CellLockedError, lock_cell
from winnow.run.checkpoint_files import remove_checkpoints
from winnow.run.corpus_loader import CorpusLoader
from winnow.run.log_run import dump_yaml
from winnow.run.pipeline import RunOptions, can_resume, is_rank_zero, run_cell
from winnow.run.pruning import Pruning
from winnow.run.run_components import RunComponents, build_components, cell_folder
from winnow.tracking import Attempt, close_stale_runs, load_attempts

JobState = Literal["waiting", "running", "elsewhere", "finished", "failed", "pruned"]
"""The state of a job. `finished`, `failed` and `pruned` are final."""

FINAL_STATES: Final = ("finished", "failed", "pruned")

SHUTDOWN_GRACE_SECONDS = 30
"""Seconds that a job has to close its run after the study's process has ended."""


@dataclass(frozen=True)
class JobStatus:
    """The state of a job.

    Attributes:
        state: The current state; `elsewhere` means that a process on another machine is training the cell.
        step: The number of completed optimizer steps.
        seconds: The run time of the current attempt in seconds.
        cause: The cause of a failure, in one line; empty if the job has not failed.
        scores: The final scores, by metric name.
    """

    state: JobState = "waiting"
    step: int = 0
    seconds: float = 0.0
    cause: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A cell to run.

    Attributes:
        cell: The cell's configuration.
        components: The objects that were built from the configuration.
        name: The cell's id.
        parent_run_id: The id of the study's parent run.
        run_id: The id of the interrupted run to resume; `None` starts a new run.
        tags: Additional tags of the run.
        pruning: The rule of a search that stops the run early; `None` trains until the budget is exhausted.
    """

    cell: ComposedCell[TrainConfig]
    components: RunComponents
    name: str
    parent_run_id: str
    run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    pruning: Pruning | None = None

    @property
    def folder(self) -> Path:
        """The folder that contains the cell's files."""
        return cell_folder(self.cell.config, self.name)

    @property
    def file(self) -> Path:
        """The file that another process reads to run the job."""
        return self.folder / "job.yaml"

    @property
    def log(self) -> Path:
        """The log file with the output of all attempts."""
        return self.folder / "log.txt"

    def save(self) -> None:
        """Write the job file, and reset the status unless another process is training the cell.

        Raises:
            WinnowError: If the folder cannot be written to.
        """
        content: dict[str, Any] = {"name": self.name, "parent": self.parent_run_id, "run_id": self.run_id}
        content |= {"tags": dict(self.tags), "pruning": self.pruning and asdict(self.pruning)}
        content |= {
            "overrides": self.cell.overrides,
            "config": self.cell.config_dict,
            "dataset": self.components.corpus.dataset_fingerprint,
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.file.with_suffix(f".{os.getpid()}.part")
            draft.write_text(dump_yaml(content), encoding="utf-8")
            draft.replace(self.file)
        except OSError as error:
            raise WinnowError(
                f"cannot write to {str(self.folder)!r} ({error.strerror}). Free disk space, or choose another folder "
                "with output_dir=FOLDER.",
                "output_dir",
            ) from error
        with suppress(CellLockedError), lock_cell(self.folder):
            self.write_status(JobStatus())

    @classmethod
    def load(cls, file: Path) -> Job:
        """Read a job file and validate its configuration.

        Raises:
            WinnowErrors: If the configuration is invalid.
        """
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        errors: list[WinnowError] = []
        config = validate_against_schema(content["config"], TrainConfig, errors)
        if config is None:
            raise WinnowErrors(errors)
        cell = ComposedCell(content["overrides"], config)
        components = build_components(config, CorpusLoader(content["dataset"]))
        pruning = Pruning(**content["pruning"]) if content["pruning"] else None
        return cls(cell, components, content["name"], content["parent"], content["run_id"], content["tags"], pruning)

    @property
    def status(self) -> JobStatus:
        """The status that the job last wrote."""
        try:
            return JobStatus(**json.loads((self.folder / "status.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return JobStatus()

    def write_status(self, status: JobStatus) -> None:
        """Write the status file; errors such as a full disk are ignored."""
        file = self.folder / "status.json"
        with suppress(OSError):
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(asdict(status)), encoding="utf-8")
            draft.replace(file)

    def finalize(self, cause: str) -> None:
        """Mark the job as failed if its process ended without writing a final status.

        If another process is training the cell, the status is not changed.
        """
        with suppress(CellLockedError), lock_cell(self.folder):
            status = self.status
            if status.state in ("waiting", "running"):
                self.write_status(JobStatus("failed", status.step, cause=cause))


def run_job(job: Job) -> bool:
    """Run a job in this process unless the cell is finished or another process is training it.

    Errors are written to the log and the status file, in distributed training only by the process with rank 0. Only
    exceptions that stop the process, such as Ctrl-C, are raised.

    Returns:
        Whether this process trained the cell to completion.
    """
    if not is_rank_zero():
        run_cell(job.cell, job.components, RunOptions(job.name))
        return True
    try:
        with lock_cell(job.folder):
            return _run_with_lock(job)
    except CellLockedError:
        return False


def _run_with_lock(job: Job) -> bool:
    """Run a job in a folder that this process has locked."""
    start_time = time.monotonic()

    def write_status(state: JobState, step: int, **fields: Any) -> None:
        job.write_status(JobStatus(state, step, time.monotonic() - start_time, **fields))

    with redirect_output(job.log):
        try:
            attempt = find_newest_attempt(job)
            if attempt is not None and attempt.has_finished and job.cell.config.study.rerun != "all":
                write_status("finished", job.cell.config.training.max_steps, scores=attempt.scores)
                return False
            if attempt is not None and attempt.is_alive:  # on another machine, with a separate file system
                write_status("elsewhere", 0)
                return False
            run_id = attempt.run_id if attempt and can_resume(job.cell.config, job.name, attempt) else None
            if run_id is None:
                remove_checkpoints(job.folder)
            write_status("running", 0)
            options = RunOptions(
                job.name,
                job.parent_run_id,
                run_id,
                job.tags,
                on_step=lambda step: write_status("running", step),
                pruning=job.pruning,
            )
            scores = run_cell(job.cell, job.components, options)
        except RunPruned as stop:
            write_status("pruned", stop.step, cause=str(stop))
            return False
        except BaseException as error:
            with job.log.open("a", encoding="utf-8") as log:
                traceback.print_exception(error, file=log)
            write_status("failed", job.status.step, cause=(str(error) or type(error).__name__).splitlines()[0])
            if isinstance(error, Exception):
                return False
            raise
        write_status("finished", job.cell.config.training.max_steps, scores=scores)
    return True


def find_newest_attempt(job: Job) -> Attempt | None:
    """Return the newest attempt at a job's cell, or the attempt that the job resumes if the store is unavailable."""
    from mlflow.exceptions import MlflowException

    store = job.components.store
    try:
        experiment = store.experiment(job.cell.config.study.name)
        close_stale_runs(store, experiment)
        return load_attempts(store, experiment, job.name).get(job.name)
    except (WinnowError, MlflowException):
        return Attempt(job.run_id, "KILLED", {}, {}, {}) if job.run_id is not None else None


@contextmanager
def redirect_output(log: Path) -> Iterator[None]:
    """Append all output of this process to a file, including the output of C libraries."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}, process {os.getpid()}\n")
        file.flush()
        _flush_output()
        originals = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in originals:
                os.dup2(file.fileno(), number)
            yield
        finally:
            _flush_output()
            for number, copy in originals.items():
                os.dup2(copy, number)
                os.close(copy)


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the stream is closed or the disk is full
            stream.flush()


def main() -> int:
    """Run the job whose file is the first command-line argument, and terminate when the parent process ends."""
    Thread(target=terminate_on_stdin_close, daemon=True).start()
    return 0 if run_job(Job.load(Path(sys.argv[1]))) else 1


def terminate_on_stdin_close() -> None:
    """Terminate this process when standard input is closed, which means that the study has ended."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


@functools.cache
def terminate_with_parent(parent: int) -> None:
    """Terminate this process when its parent ends. A worker that runs several jobs starts only one watcher thread.

    Any run in progress has `SHUTDOWN_GRACE_SECONDS` to close. The process then exits with `os._exit`, since worker
    pools ignore `SystemExit`.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SHUTDOWN_GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
