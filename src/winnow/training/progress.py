"""Callbacks that report the progress of a training run: progress bar, elapsed time and step count."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_MIN_UPDATE_SECONDS = 0.2
"""Minimum number of seconds between two updates of the bar. Updating it at every step would slow down small models."""


class _ProgressBarWithMetrics(Progress):
    """A progress bar with the metrics on a second line, because a single line would exceed 80 columns."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.tasks[0].fields["metrics"] if self.tasks else "", style="dim")


class StepProgressBar(ProgressBar):
    """Shows the optimizer steps, training and validation loss, learning rate, throughput and remaining time.

    Epochs are not shown, because the training budget is a number of steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._is_enabled, self._updated_at = True, 0.0

    def disable(self) -> None:
        """Disable the bar; Lightning calls this method on all ranks except rank 0."""
        self._is_enabled = False

    def enable(self) -> None:
        """Enable the bar."""
        self._is_enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar; the bar of a resumed run starts at the resumed step."""
        if not self._is_enabled:
            return
        self._bar = _ProgressBarWithMetrics(
            TextColumn("[bold]{task.description:<10}"),
            BarColumn(bar_width=None, complete_style="blue", finished_style="blue"),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            refresh_per_second=5,
        )
        self._bar.start()
        self._task = self._bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step, metrics="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the bar a few times per second."""
        if self._bar is not None and time.monotonic() - self._updated_at > _MIN_UPDATE_SECONDS:
            self._update(trainer, "training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show that validation is running."""
        if self._bar is not None:
            self._update(trainer, "validating")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the final state of the bar, and stop updating it."""
        if self._bar is not None:
            self._update(trainer, "trained")
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop updating the bar, because training has failed."""
        if self._bar is not None:
            self._bar.stop()

    def _update(self, trainer: pl.Trainer, description: str) -> None:
        assert self._bar is not None
        self._updated_at = time.monotonic()
        metrics = format_metrics({name: float(value) for name, value in trainer.callback_metrics.items()})
        self._bar.update(self._task, completed=trainer.global_step, description=description, metrics=metrics)


def format_metrics(metrics: dict[str, float]) -> str:
    """Return the metrics as one line for the progress bar.

    >>> format_metrics({"train/loss": 3.2104, "validation/loss": 3.4, "train/tokens_per_second": 8120.4})
    'loss 3.210, validation 3.400, 8,120 tokens/s'
    """
    formats = (
        ("train/loss", "loss {:.3f}"),
        ("validation/loss", "validation {:.3f}"),
        ("train/learning_rate", "lr {:.1e}"),
        ("train/tokens_per_second", "{:,.0f} tokens/s"),
        ("train/peak_share", "{:.0%} of peak"),
    )
    return ", ".join(template.format(metrics[name]) for name, template in formats if name in metrics)


class RunTimer(Callback):
    """Measures the elapsed time of a run, in seconds.

    The time is stored in every checkpoint, so that a resumed run includes the time before its interruption.

    Args:
        started_at: The start time, as returned by ``time.monotonic()``.
    """

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self._restored_seconds = 0.0

    @property
    def state_key(self) -> str:
        """The key of the state in checkpoints. It is the former name of this class, so older checkpoints still load."""
        return "Stopwatch"

    @property
    def seconds(self) -> float:
        """The elapsed seconds, including the time before an interruption."""
        return self._restored_seconds + time.monotonic() - self._started_at

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._restored_seconds = float(state_dict.get("seconds", 0.0))


class StepReporter(Callback):
    """Reports the number of completed optimizer steps at regular intervals.

    Args:
        on_step: A function that is called with the number of completed steps.
        every_seconds: Minimum number of seconds between two calls.
    """

    def __init__(self, on_step: Callable[[int], None], every_seconds: float = 1.0) -> None:
        self._on_step = on_step
        self._every_seconds = every_seconds
        self._next_report = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Report the step if the interval has elapsed."""
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + self._every_seconds
            self._on_step(trainer.global_step)


def silence_libraries() -> None:
    """Suppress tips, advertisements and progress bars of the libraries; warnings and errors are still shown."""
    from transformers.utils import logging as transformers_logging

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    # Users cannot act on these two warnings: the first is about Lightning's use of torch, and the second suggests
    # worker processes, which do not speed up loading from arrays in memory.
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # The folder is expected to be non-empty, because it also contains the log and job files of the cell.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
