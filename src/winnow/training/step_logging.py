"""Log the values of a training step to Lightning's loggers and callbacks."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch


def log_step(trainer: pl.Trainer, values: Mapping[str, float], step: int) -> None:
    """Log values of one step, with one call per logger, and add them to the trainer's callback metrics.

    Lightning's `self.log` handles averages and reductions for each value separately. None of that is needed for values
    that are equal on all ranks; three of them take six times as long (`benchmarks/tracking.py`). Validation metrics use
    `self.log`, because they need it.

    Args:
        trainer: The running trainer.
        values: The values by metric name, equal on all ranks.
        step: Number of the optimizer step, counted from 0 like Lightning's.
    """
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
    for logger in trainer.loggers:
        logger.log_metrics(dict(values), step)
