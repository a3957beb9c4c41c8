"""The progress bar of a training, and quiet for all that is not progress."""

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

_PAUSE = 0.2
"""Seconds between two updates: more often than the eye sees costs a small model a good part of its step."""


class _TwoLines(Progress):
    """A bar, and the numbers below it: one line of both is too long for a usual terminal."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.tasks[0].fields["numbers"] if self.tasks else "", style="dim")


class StepProgressBar(ProgressBar):
    """Counts the steps of the budget, and tells loss, validation loss, learning rate, speed and time left.

    Passes over the data mean nothing under a budget of steps, so there are none to be seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._enabled, self._updated = True, 0.0

    def disable(self) -> None:
        """Show nothing, as on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar, from the step at which a resumed training stands."""
        if not self._enabled:
            return
        self._bar = _TwoLines(
            TextColumn("[bold]{task.description:<10}"),
            BarColumn(bar_width=None, complete_style="blue", finished_style="blue"),
            MofNCompleteColumn(),
            TextColumn("steps,"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            refresh_per_second=5,
        )
        self._bar.start()
        self._task = self._bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step, numbers="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move on, a few times a second."""
        if self._bar is not None and time.monotonic() - self._updated > _PAUSE:
            self._show(trainer, "training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell why no step is taken."""
        if self._bar is not None:
            self._show(trainer, "validating")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        if self._bar is not None:
            self._show(trainer, "trained")
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the screen back."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self, trainer: pl.Trainer, doing: str) -> None:
        assert self._bar is not None
        self._updated = time.monotonic()
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._bar.update(self._task, completed=trainer.global_step, description=doing, numbers=numbers(known))


def numbers(known: dict[str, float]) -> str:
    """Return the metrics that are watched during a training as one line.

    >>> numbers({"train/loss": 3.2104, "validation/loss": 3.4, "train/tokens_per_second": 8120.4})
    'loss 3.210, validation 3.400, 8,120 tokens/s'
    """
    told = (
        ("train/loss", "loss {:.3f}"),
        ("validation/loss", "validation {:.3f}"),
        ("train/learning_rate", "rate {:.1e}"),
        ("train/tokens_per_second", "{:,.0f} tokens/s"),
        ("train/peak_share", "{:.0%} of peak"),
    )
    return ", ".join(form.format(known[name]) for name, form in told if name in known)


class Stopwatch(Callback):
    """Counts the seconds of a run from `begun` on, a moment of the monotonic clock.

    Each checkpoint keeps the count, so that a run which was taken up again counts its earlier parts too.
    """

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._begun

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint kept."""
        self._before = float(state_dict.get("seconds", 0.0))


class StepReport(Callback):
    """Tells now and then how many optimizer steps were taken."""

    def __init__(self, tell: Callable[[int], None], every_seconds: float = 1.0) -> None:
        self._tell = tell
        self._pace = every_seconds
        self._due = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Tell, if it is time again."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._pace
            self._tell(trainer.global_step)


def quieten_libraries() -> None:
    """Keep hints, advertisements and progress bars of the libraries off the terminal; warnings and errors stay."""
    from transformers.utils import logging as transformers_logging

    for name in ("pytorch_lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()
    # Neither can be acted on: the first is Lightning's own use of torch, the others ask for worker processes, which a
    # loader of arrays in memory does not need.
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # A cell's folder holds its log and its job beside the checkpoint.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
