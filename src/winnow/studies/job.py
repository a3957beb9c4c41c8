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
from winnow.run.checkpoint_files import LAST
from winnow.run.components import Components, build_components, cell_folder
from winnow.run.corpora import Corpora
from winnow.run.log_run import to_yaml
from winnow.run.pipeline import RunOptions, is_first_process, run_cell

State = Literal["waiting", "running", "finished", "failed"]


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
        """Write the job's file, and forget what an earlier attempt told; one that starts afresh loses its checkpoint.

        Raises:
            WinnowError: The folder cannot be written.
        """
        told: dict[str, Any] = {"name": self.name, "parent": self.parent, "run_id": self.run_id}
        told |= {"overrides": self.cell.overrides, "config": self.cell.tree, "dataset": self.components.corpus.dataset}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file.write_text(to_yaml(told), encoding="utf-8")
            if self.run_id is None:
                (self.folder / LAST).unlink(missing_ok=True)
        except OSError as error:
            told_so = f"nothing can be written to {str(self.folder)!r} ({error.strerror}). Make room, or choose another"
            raise WinnowError(f"{told_so} folder with output_dir=FOLDER.", "output_dir") from error
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
        cell = Cell(told["overrides"], told["config"], config)
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
        """Note that the job's process is gone, and why, unless the job has told of its end itself."""
        status = self.status
        if status.state in ("waiting", "running"):
            self.tell(Status("failed", status.step, cause=cause))


def run_job(job: Job) -> bool:
    """Run a job in this process; tell whether it came to its end.

    What fails is told in the log and the status; only what stops the whole process, such as Ctrl-C, goes on. Of the
    processes of a distributed training the first alone tells.
    """
    if not is_first_process():
        run_cell(job.cell, job.components, RunOptions(job.name))
        return True
    begun = time.monotonic()

    def tell(state: State, step: int, **told: Any) -> None:
        job.tell(Status(state, step, time.monotonic() - begun, **told))

    with logged(job.log):
        try:
            with _alone_with(job.folder):
                tell("running", 0)
                options = RunOptions(job.name, job.parent, job.run_id, on_step=lambda step: tell("running", step))
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


@contextmanager
def _alone_with(folder: Path) -> Iterator[None]:
    """Hold a cell's folder, since two trainings of one cell would overwrite each other's checkpoint."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / "lock", timeout=0):
            yield
    except Timeout as error:
        told = "another process is training this very cell. Wait until it ends; the same command then finds it done."
        raise WinnowError(told) from error


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
    """End this process when its parent does; a worker that takes several jobs needs to be told once."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
