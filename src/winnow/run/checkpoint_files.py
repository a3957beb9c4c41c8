"""The checkpoints of one cell: where they are, whether one can be resumed from, and when they are removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from winnow.config import TrainConfig
from winnow.run.components import cell_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST: Final = "last.ckpt"
"""The checkpoint in a cell's folder that an interrupted run resumes from."""

BEST: Final = "best.ckpt"
"""The checkpoint in a cell's folder with the lowest validation loss, if `training.keep` is `best`."""


def find_checkpoint(config: TrainConfig, model: PreTrainedModel, cell_id: str) -> dict[str, Any] | None:
    """Return the checkpoint that an earlier attempt at a cell can resume from, or `None` if there is none.

    Raises:
        WinnowError: It is damaged or of another model, or there is no room for new ones.
    """
    from winnow.training.checkpoint import check_room, open_checkpoint

    checkpoint = checkpoint_of(config, cell_id)
    check_room(checkpoint.parent, model)
    if config.study.rerun == "all":
        checkpoint.unlink(missing_ok=True)
    return open_checkpoint(checkpoint, model) if checkpoint.exists() else None


def drop_checkpoint(config: TrainConfig, cell_id: str) -> None:
    """Remove the checkpoints of a cell whose results are stored."""
    folder = cell_folder(config, cell_id)
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)


def checkpoint_of(config: TrainConfig, cell_id: str) -> Path:
    """Return the file of the checkpoint that an interrupted run of a cell resumes from."""
    return cell_folder(config, cell_id) / LAST
