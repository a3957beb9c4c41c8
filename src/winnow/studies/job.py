"""One cell as a job: a file that says all of it, and what is told of it while it runs.

A job runs wherever a launcher puts it: in the study's own process, in another, or on another machine that sees the same
folders. So it is read from a file of plain data, and all it tells goes into the cell's folder: `log.txt` takes every
line it prints and the whole story of a failure, `status.json` where it stands.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import yaml

from winnow.config import Cell, TrainConfig
from winnow.config.validate import validate
from winnow.errors import WinnowError, WinnowErrors
from winnow.run.cell_lock import CellTakenError, hold_cell
from winnow.run.checkpoint_files import drop_checkpoints
from winnow.run.components import Components, build_components, cell_folder
from winnow.run.corpora import Corpora
from winnow.run.log_run import to_yaml
from winnow.run.pipeline import RunOptions, can_be_resumed, is_first_process, run_cell
from winnow.tracking import Attempt, attempts, close_stale_runs

State = Literal["waiting", "running", "elsewhere", "finished", "failed"]


GRACE_SECONDS = 30
"""How long a job may take to close its run after the study's process has died."""


@dataclass(frozen=True)
class Status:
    """Where a job stands.

    Attributes:
        state: Whether it has begun, and how it ended.
        step: Optimizer steps taken so far.
        seconds: Time of all attempts at the cell.
        cause: Why it failed, in one line.
        scores: The final scores by metric name.
    """

    state: State = "waiting"
    step: int = 0
    seconds: float = 0.0
    cause: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A cell that is to be run.

    Attributes:
        cell: Its configuration.
        components: The objects that the configuration names.
        name: The cell's id.
        parent: The study's run.
        run_id: The broken run that it takes up; `None` starts afresh.
    """

    cell: Cell[TrainConfig]
    components: Components
    name: str
    parent: str
    run_id: str | None = None

    @property
    def folder(self) -> Path:
        """Where the cell keeps all that is its own."""
        return cell_folder(self.cell.config, self.name)

    @property
    def file(self) -> Path:
        """What another process reads to run the job."""
        return self.folder / "job.yaml"

    @property
    def log(self) -> Path:
        """All that the cell has printed, attempt after attempt."""
        return self.folder / "log.txt"

    def save(self) -> None:
        """Write the job's file, and reset the status that an earlier attempt left unless another process works on it.

        Raises:
            WinnowError: The folder cannot be written.
        """
        told: dict[str, Any] = {"name": self.name, "parent": self.parent, "run_id": self.run_id}
        told |= {"overrides": self.cell.overrides, "config": self.cell.tree, "dataset": self.components.corpus.dataset}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.file.with_suffix(f".{os.getpid()}.part")
            draft.write_text(to_yaml(told), encoding="utf-8")
            draft.replace(self.file)
        except OSError as error:
            told_so = f"nothing can be written to {str(self.folder)!r} ({error.strerror}). Make room, or choose another"
            raise WinnowError(f"{told_so} folder with output_dir=FOLDER.", "output_dir") from error
        with suppress(CellTakenError), hold_cell(self.folder):
            self.tell(Status())

    @classmethod
    def load(cls, file: Path) -> Job:
        """Read a job's file, checked like a configuration from the command line.

        Raises:
            WinnowErrors: What is wrong with it.
        """
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
        faults: list[WinnowError] = []
        config = validate(told["config"], TrainConfig, faults)
        if config is None:
            raise WinnowErrors(faults)
        cell = Cell(told["overrides"], config)
        components = build_components(config, Corpora(told["dataset"]))
        return cls(cell, components, told["name"], told["parent"], told["run_id"])

    @property
    def status(self) -> Status:
        """What the job told last."""
        try:
            return Status(**json.loads((self.folder / "status.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return Status()

    def tell(self, status: Status) -> None:
        """Say where the job stands; a full disk is no reason to stop."""
        file = self.folder / "status.json"
        with suppress(OSError):
            draft = file.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(asdict(status)), encoding="utf-8")
            draft.replace(file)

    def settle(self, cause: str) -> None:
        """Record that the job's process ended, and why, unless the job has recorded its end itself.

        A cell that another process trains keeps the status that the other one writes.
        """
        with suppress(CellTakenError), hold_cell(self.folder):
            status = self.status
            if status.state in ("waiting", "running"):
                self.tell(Status("failed", status.step, cause=cause))


def run_job(job: Job) -> bool:
    """Run a job in this process unless the cell is finished by now or another process trains it.

    What fails is told in the log and the status; only what stops the whole process, such as Ctrl-C, is raised. Of the
    processes of a distributed training the first alone tells.

    Returns:
        Whether this process trained the cell to its end.
    """
    if not is_first_process():
        run_cell(job.cell, job.components, RunOptions(job.name))
        return True
    try:
        with hold_cell(job.folder):
            return _run_held(job)
    except CellTakenError:
        return False


def _run_held(job: Job) -> bool:
    """Run a job whose folder this process holds."""
    begun = time.monotonic()

    def tell(state: State, step: int, **told: Any) -> None:
        job.tell(Status(state, step, time.monotonic() - begun, **told))

    with logged(job.log):
        try:
            attempt = newest_attempt(job)
            if attempt is not None and attempt.has_finished and job.cell.config.study.rerun != "all":
                tell("finished", job.cell.config.training.max_steps, scores=attempt.scores)
                return False
            if attempt is not None and attempt.is_alive:  # on another machine, in a folder of its own
                tell("elsewhere", 0)
                return False
            run_id = attempt.run_id if attempt and can_be_resumed(job.cell.config, job.name, attempt) else None
            if run_id is None:
                drop_checkpoints(job.folder)
            tell("running", 0)
            options = RunOptions(job.name, job.parent, run_id, on_step=lambda step: tell("running", step))
            scores = run_cell(job.cell, job.components, options)
        except BaseException as error:
            with job.log.open("a", encoding="utf-8") as log:
                traceback.print_exception(error, file=log)
            tell("failed", job.status.step, cause=(str(error) or type(error).__name__).splitlines()[0])
            if isinstance(error, Exception):
                return False
            raise
        tell("finished", job.cell.config.training.max_steps, scores=scores)
    return True


def newest_attempt(job: Job) -> Attempt | None:
    """Return the run of a job's cell that counts now; if the store does not answer, the one that was planned with."""
    from mlflow.exceptions import MlflowException

    store = job.components.store
    try:
        experiment = store.experiment(job.cell.config.study.name)
        close_stale_runs(store, experiment)
        return attempts(store, experiment, job.name).get(job.name)
    except (WinnowError, MlflowException):
        return Attempt(job.run_id, "KILLED", {}, {}, {}) if job.run_id is not None else None


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """Let all output of this process go to the end of a file, that of libraries written in C included."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"== {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}, process {os.getpid()}\n")
        file.flush()
        _flush()
        kept = {number: os.dup(number) for number in (1, 2)}
        try:
            for number in kept:
                os.dup2(file.fileno(), number)
            yield
        finally:
            _flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or full: that is not for this job to tell
            stream.flush()


def main() -> int:
    """Run the job whose file is given, and end when whoever started this process does."""
    Thread(target=end_with_standard_input, daemon=True).start()
    return 0 if run_job(Job.load(Path(sys.argv[1]))) else 1


def end_with_standard_input() -> None:
    """Wait until the other end of the pipe is closed: the study is gone, so nobody waits for this job any more."""
    with suppress(OSError):
        while os.read(0, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


@functools.cache
def end_with_parent(parent: int) -> None:
    """End this process when its parent does; a worker that runs several jobs watches once.

    A run in progress has some time to close. A worker's pool ignores SystemExit, hence the hard exit.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
