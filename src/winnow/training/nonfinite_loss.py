"""Describe which rows of a training step have a non-finite loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from winnow.training.dataloaders import TrainingBatches
from winnow.training.forward.masked_logits import ForwardMode, masked_lm_loss_sum
from winnow.training.masked_batch import build_masked_batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MAX_LISTED_ROWS = 5
"""Maximum number of row ids in a description."""


def describe_nonfinite_rows(model: PreTrainedModel, batches: TrainingBatches, step: int, forward: ForwardMode) -> str:
    """Return a description of the rows that have a non-finite loss in a training step.

    The rows of a step depend only on the step number, so the description covers the rows of all processes. If any
    weight is already non-finite, every loss is non-finite too, and the losses of single rows are not computed.

    Args:
        model: The model, on any device.
        batches: The training batches.
        step: Number of the optimizer step, counted from 1.
        forward: The implementation of the forward pass.
    """
    row_indices, epochs = batches.unsharded().select_rows(step - 1)
    row_ids = np.array([f"{key:016x}" for key in batches.rows.keys[row_indices].tolist()])
    if not all(bool(torch.isfinite(weights).all()) for weights in model.parameters()):
        return f"some weights are not finite; the step had {len(row_ids)} rows: {_format_row_ids(row_ids)}"
    was_training = model.training
    model.eval()
    is_nonfinite = np.zeros(len(row_indices), dtype=bool)
    with torch.no_grad():
        for i in range(len(row_indices)):
            row = batches.rows.take(row_indices[i : i + 1])
            progress = (step - 1) / max(1, batches.steps)
            batch = build_masked_batch(row, batches.masking, batches.seed, epochs[i : i + 1], progress)
            is_nonfinite[i] = not torch.isfinite(masked_lm_loss_sum(model, batch.to(model.device), forward)[0])
    model.train(was_training)
    if not is_nonfinite.any():
        return (
            "when recomputed without dropout, the loss of every row is finite; "
            f"the step had {len(row_ids)} rows: {_format_row_ids(row_ids)}"
        )
    return (
        f"the loss is not finite for {is_nonfinite.sum()} of the step's {len(row_ids)} rows: "
        f"{_format_row_ids(row_ids[is_nonfinite])}"
    )


def _format_row_ids(row_ids: npt.NDArray[np.str_]) -> str:
    remaining = len(row_ids) - _MAX_LISTED_ROWS
    return f"row ids {', '.join(row_ids[:_MAX_LISTED_ROWS])}{f' and {remaining} more' if remaining > 0 else ''}"
