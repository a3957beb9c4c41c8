"""The checkpoint files in a cell's folder: names, loading and removal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST_CHECKPOINT: Final = "last.ckpt"
"""File name of the checkpoint that an interrupted run resumes from."""

BEST_CHECKPOINT: Final = "best.ckpt"
"""File name of the checkpoint with the lowest validation loss, if `training.keep` is `best`."""

MATMULS_FILE: Final = "onednn_matmuls.json"
"""Name of the file that lists the matmuls that run on oneDNN. A resumed run reads it to use the same backends."""


def save_matmul_backends(folder: Path, onednn_matmuls: list[str]) -> None:
    """Store the list of matmuls that run on oneDNN in a cell's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{MATMULS_FILE}.new"
    temporary.write_text(json.dumps(onednn_matmuls) + "\n", encoding="utf-8")
    temporary.replace(folder / MATMULS_FILE)


def load_matmul_backends(folder: Path) -> list[str] | None:
    """Return the matmuls that ran on oneDNN in the run that a cell resumes, or `None` if the cell starts at step 0."""
    if not (folder / LAST_CHECKPOINT).exists() or not (folder / MATMULS_FILE).exists():
        return None
    onednn_matmuls: list[str] = json.loads((folder / MATMULS_FILE).read_text(encoding="utf-8"))
    return onednn_matmuls


def load_last_checkpoint(folder: Path, model: PreTrainedModel, restart: bool) -> dict[str, Any] | None:
    """Return the last checkpoint of a cell, or `None` if there is none.

    If a best checkpoint was saved earlier, this checkpoint is verified as well.

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
    """Return the cell's checkpoint with the lowest validation loss.

    Raises:
        WinnowError: If the checkpoint is missing or damaged, or if it does not match the model.
    """
    from winnow.training.checkpoint import load_checkpoint

    return load_checkpoint(folder / BEST_CHECKPOINT, model)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints and the stored matmul backends from a cell's folder."""
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT, MATMULS_FILE):
        (folder / name).unlink(missing_ok=True)
