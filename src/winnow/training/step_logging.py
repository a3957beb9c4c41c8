"""Values of a training step, on their way to loggers and callbacks."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch


def log_step(trainer: pl.Trainer, values: Mapping[str, float], step: int) -> None:
    """Log values of one step, the same on all processes, in one call to each logger; callbacks find them too.

    Lightning's `self.log` averages, reduces and keeps each value on its own, of which nothing is wanted here; for three
    values that costs six times as much (`benchmarks/tracking.py`). Scores of held-out rows, which need it, keep it.

    Args:
        trainer: The trainer at work.
        values: The values by name.
        step: Number of the optimizer step, from 0 as Lightning counts.
    """
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step)
