"""The progress bar of a training, and quiet for all that is not progress."""

from __future__ import annotations

import logging
import warnings

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar


class StepProgressBar(RichProgressBar):
    """Counts the steps of the budget and shows the losses; passes over the data mean nothing under such a budget."""

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float]:
        """Return what stands behind the bar: the losses, and no version number."""
        metrics: dict[str, int | str | float] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


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
