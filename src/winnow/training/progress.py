"""The progress bar of a training, and quiet for all that is not progress."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar


class StepProgressBar(RichProgressBar):
    """Counts the steps of the budget and shows the losses; passes over the data mean nothing under such a budget."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float]:
        """Return what stands behind the bar: the losses, and no version number."""
        metrics: dict[str, int | str | float] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


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
