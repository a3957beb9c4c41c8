"""The checkpoint files in a cell's folder: names, loading and removal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST_CHECKPOINT: Final = "last.ckpt"
"""File name of the checkpoint that an interrupted run resumes from."""

BEST_CHECKPOINT: Final = "best.ckpt"
"""File name of the checkpoint with the lowest validation loss, if `training.keep` is `best`."""

NUMERICS_FILE: Final = "numerics.json"
"""Name of the file with the number of threads and the matmuls that run on oneDNN. A resumed run reads this file."""

RESUMED_NUMERICS: Final = ("onednn", "threads")
"""The selected numerics settings that a resumed run must share with the interrupted run."""


def save_numerics(folder: Path, numerics: Mapping[str, Any]) -> None:
    """Store the selected numerics settings that a resumed run needs in a cell's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{NUMERICS_FILE}.new"
    content = {name: numerics[name] for name in RESUMED_NUMERICS}
    temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    temporary.replace(folder / NUMERICS_FILE)


def load_numerics(folder: Path) -> dict[str, Any]:
    """Return the numerics settings of the run that a cell resumes. The dict is empty if the cell starts at step 0."""
    if not (folder / LAST_CHECKPOINT).exists() or not (folder / NUMERICS_FILE).exists():
        return {}
    numerics: dict[str, Any] = json.loads((folder / NUMERICS_FILE).read_text(encoding="utf-8"))
    return numerics


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
    """Remove the checkpoints and the stored numerics settings from a cell's folder."""
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT, NUMERICS_FILE):
        (folder / name).unlink(missing_ok=True)
