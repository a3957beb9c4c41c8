"""Log the values of a training step to Lightning's loggers and callbacks."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch


def log_step(trainer: pl.Trainer, values: Mapping[str, float], step: int) -> None:
    """Log the values of one step with a single call per logger, and add them to the trainer's callback metrics.

    Values that are equal on all ranks do not need the averaging and reduction of Lightning's ``self.log``, which takes
    six times as long for three values (``benchmarks/tracking.py``). Validation metrics do need averaging and reduction,
    so they are logged with ``self.log``.

    Args:
        trainer: The running trainer.
        values: The values by metric name; they must be equal on all ranks.
        step: Index of the optimizer step, counted from 0 as in Lightning.
    """
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step)
