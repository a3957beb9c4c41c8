"""The checkpoints of one cell: where they are, whether one can be resumed from, and when they are removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST: Final = "last.ckpt"
"""The checkpoint in a cell's folder that an interrupted run resumes from."""

BEST: Final = "best.ckpt"
"""The checkpoint in a cell's folder with the lowest validation loss, if `training.keep` is `best`."""


def find_checkpoint(folder: Path, model: PreTrainedModel, restart: bool) -> dict[str, Any] | None:
    """Return the checkpoint that an earlier attempt at a cell can resume from, or `None` if there is none.

    Args:
        folder: The cell's folder.
        model: The model that the checkpoint must fit.
        restart: Remove the checkpoint, since the cell is to start from the beginning.

    Raises:
        WinnowError: It is damaged or of another model, or there is no room for new ones.
    """
    from winnow.training.checkpoint import check_disk_space, load_checkpoint

    check_disk_space(folder, model)
    if restart:
        (folder / LAST).unlink(missing_ok=True)
    return load_checkpoint(folder / LAST, model) if (folder / LAST).exists() else None


def drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints from a cell's folder."""
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
