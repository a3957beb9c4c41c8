"""The checkpoint files in a cell's folder: names, loading and removal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST_CHECKPOINT: Final = "last.ckpt"
"""File name of the checkpoint that an interrupted run resumes from."""

BEST_CHECKPOINT: Final = "best.ckpt"
"""File name of the checkpoint with the lowest validation loss, if `training.keep` is `best`."""


def load_last_checkpoint(folder: Path, model: PreTrainedModel, restart: bool) -> dict[str, Any] | None:
    """Return the last checkpoint of a cell, or `None` if there is none.

    If the best checkpoint was saved before the last one, it is verified as well.

    Args:
        folder: The cell's folder.
        model: The model, whose weight names and shapes the checkpoint must match.
        restart: Whether to delete an existing checkpoint, so that training starts at step 0.

    Raises:
        WinnowError: If a checkpoint is damaged or does not match the model, or if there is not enough disk space for
            new checkpoints.
    """
    from winnow.training.checkpoint import check_disk_space, load_checkpoint

    check_disk_space(folder, model)
    if restart:
        (folder / LAST_CHECKPOINT).unlink(missing_ok=True)
    if not (folder / LAST_CHECKPOINT).exists():
        return None
    checkpoint = load_checkpoint(folder / LAST_CHECKPOINT, model)
    if checkpoint.get("validation_loss", math.inf) < math.inf:
        load_best_checkpoint(folder, model)
    return checkpoint


def load_best_checkpoint(folder: Path, model: PreTrainedModel) -> dict[str, Any]:
    """Return the checkpoint of a cell with the lowest validation loss.

    Raises:
        WinnowError: If the checkpoint is missing or damaged, or if it does not match the model.
    """
    from winnow.training.checkpoint import load_checkpoint

    return load_checkpoint(folder / BEST_CHECKPOINT, model)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints from a cell's folder."""
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
