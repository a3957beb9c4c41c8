"""The checkpoints of a cell are verified before they are loaded."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.damaged_checkpoints import flip_record_bit
from winnow.errors import WinnowError
from winnow.run.checkpoint_files import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    load_best_checkpoint,
    load_last_checkpoint,
    load_numerics,
    remove_checkpoints,
    save_numerics,
)


def save(path: Path, model: Any, **content: Any) -> None:
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights, **content}, path)


@pytest.mark.parametrize("record", ["data/0", "data/3", "data.pkl"])
def test_a_flipped_bit_in_the_best_checkpoint_is_an_error_before_training_resumes(
    tmp_path: Path, model: Any, record: str
) -> None:
    save(tmp_path / LAST_CHECKPOINT, model, validation_loss=2.5)
    save(tmp_path / BEST_CHECKPOINT, model, validation_loss=2.5)
    assert load_best_checkpoint(tmp_path, model)["validation_loss"] == 2.5
    assert load_last_checkpoint(tmp_path, model, restart=False)
    flip_record_bit(tmp_path / BEST_CHECKPOINT, record)
    for load in (load_best_checkpoint, lambda folder, model: load_last_checkpoint(folder, model, restart=False)):
        with pytest.raises(WinnowError, match=r"best\.ckpt is damaged.*checksum.*Delete all checkpoints in"):
            load(tmp_path, model)
    assert load_last_checkpoint(tmp_path, model, restart=True) is None


def test_a_missing_best_checkpoint_is_an_error_unless_none_was_saved(tmp_path: Path, model: Any) -> None:
    save(tmp_path / LAST_CHECKPOINT, model, validation_loss=math.inf)
    assert load_last_checkpoint(tmp_path, model, restart=False)
    save(tmp_path / LAST_CHECKPOINT, model, validation_loss=2.5)
    with pytest.raises(WinnowError, match=r"best\.ckpt is missing\..*study\.rerun=all"):
        load_last_checkpoint(tmp_path, model, restart=False)


def test_only_a_resumed_cell_reuses_the_stored_numerics(tmp_path: Path) -> None:
    save_numerics(tmp_path / "cell", {"onednn": ["forward 40 24"], "threads": 2, "gflops": {}})
    assert load_numerics(tmp_path / "cell") == {}, "there is no checkpoint"
    (tmp_path / "cell" / LAST_CHECKPOINT).touch()
    assert load_numerics(tmp_path / "cell") == {"onednn": ["forward 40 24"], "threads": 2}
    remove_checkpoints(tmp_path / "cell")
    assert not list((tmp_path / "cell").iterdir())
