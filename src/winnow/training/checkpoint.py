"""Write checkpoints atomically, and verify them before an interrupted run resumes."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from winnow.errors import WinnowError
from winnow.fsync import flush_to_disk
from winnow.training.checkpoint_checksums import verify_checksums
from winnow.training.graceful_shutdown import GracefulShutdown

BYTES_PER_WEIGHT = 12
"""Bytes per weight in a checkpoint: a float32 value and its two Adam moments."""


class LastCheckpoint(Checkpoint):
    """Keeps only the latest checkpoint, and stops training at the end of the current step on Ctrl-C or SIGTERM.

    A checkpoint is written after each validation, before training stops on a signal, and at the end of training.
    Writing it after validation preserves the state that other callbacks update during validation. No checkpoint is
    written between the accumulated batches of a step, because it would not contain the gradients accumulated so far.

    Args:
        path: The checkpoint file.
        every_steps: Number of optimizer steps between two checkpoints; must equal the trainer's validation interval.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        super().__init__()
        self.path, self.every_steps = path, every_steps
        self.shutdown = GracefulShutdown()
        self._is_complete = self._is_stopping = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers, after Lightning has installed its own."""
        self.shutdown.install(verbose=trainer.is_global_zero)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint at the end of a step if training must stop or a checkpoint is due without validation."""
        pl_module.stop_requested = self.shutdown.received_signal is not None
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        is_due = trainer.global_step % self.every_steps == 0
        if is_due and _has_validation(trainer):
            return
        self._is_stopping = trainer.global_step < trainer.max_steps and pl_module.must_stop
        if is_due or self._is_stopping:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write a checkpoint, except at the last step, and check for a signal."""
        if trainer.global_step < trainer.max_steps:
            self._save(trainer)
            pl_module.stop_requested = self.shutdown.received_signal is not None
            self._is_stopping = pl_module.must_stop

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Exit if a signal was received. Earlier hooks run before the last step is logged."""
        if self._is_stopping:
            self.shutdown.exit()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the final checkpoint before anything else can fail; then exit if a signal was received."""
        self._is_complete = True
        self._save(trainer)
        self.shutdown.uninstall()
        if self.shutdown.received_signal is not None:
            self.shutdown.exit()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Restore the previous signal handlers."""
        self.shutdown.uninstall()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store whether training is complete."""
        checkpoint["complete"] = self._is_complete

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)


class BestCheckpoint(Checkpoint):
    """Keeps the weights with the lowest validation loss; if there is a tie, the earliest weights are kept.

    Args:
        path: The checkpoint file, which contains the weights and ``validation_loss``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.best = path, math.inf

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write a checkpoint if the validation loss is the lowest so far."""
        loss = float(trainer.callback_metrics["validation/loss"])
        if loss < self.best:
            self.best = loss
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Store the lowest loss in every checkpoint, so that a resumed run can restore it."""
        checkpoint["validation_loss"] = self.best

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the lowest loss."""
        self.best = checkpoint["validation_loss"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file in the same folder, then renames it.

    By default, Lightning first writes to the system's temporary folder. If that folder is on a different disk, the
    final move is a copy, so a full disk can replace a valid checkpoint with an incomplete file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            WinnowError: If the checkpoint cannot be written. The previous checkpoint is unchanged.
        """
        final = Path(path)
        draft = final.with_suffix(f".{os.getpid()}.draft")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(final)
            flush_to_disk(final.parent)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for an incomplete write
            step = checkpoint.get("global_step")
            raise WinnowError(
                f"the checkpoint of step {step} cannot be written to {final.parent}: {_shorten_error_message(error)}. "
                "The previous checkpoint is unchanged. Free some disk space, then rerun the command to resume from it.",
                key="output_dir",
            ) from error
        finally:
            draft.unlink(missing_ok=True)


def check_disk_space(folder: Path, model: torch.nn.Module) -> None:
    """Check that a folder's disk has space for both the previous and the new checkpoint of a model.

    Raises:
        WinnowError: If the disk does not have enough space. The error's key is ``output_dir``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = sum(parameter.numel() for parameter in model.parameters())
    required_bytes, free_bytes = 2 * BYTES_PER_WEIGHT * weights, shutil.disk_usage(folder).free
    if required_bytes > free_bytes:
        raise WinnowError(
            f"the disk that contains {folder} has {free_bytes / 1e9:.1f} GB of free space, but the model's "
            f"checkpoints need up to {required_bytes / 1e9:.1f} GB. Free some disk space, or set output_dir to a "
            "folder on a different disk.",
            key="output_dir",
        )


def load_checkpoint(path: Path, model: torch.nn.Module) -> dict[str, Any]:
    """Return a checkpoint with memory-mapped tensors, after checking that its weights match the given model.

    Raises:
        WinnowError: If the checkpoint is missing, cannot be read, or belongs to a different model. The error's key is
            ``study.rerun``.
    """
    fix = f"Delete all checkpoints in {path.parent} or set study.rerun=all to train from the beginning."
    if not path.exists():
        raise WinnowError(f"the checkpoint {path} is missing. {fix}", "study.rerun")
    try:
        verify_checksums(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = {name.removeprefix("model."): tensor for name, tensor in content["state_dict"].items()}
    except Exception as error:  # the type of torch's exception depends on which byte is damaged
        raise WinnowError(
            f"the checkpoint {path} is damaged: {_shorten_error_message(error)}. {fix}", "study.rerun"
        ) from error
    model_weights = model.state_dict()
    for name in [*model_weights, *weights]:
        actual_shape, expected_shape = (_describe_shape(tensors.get(name)) for tensors in (weights, model_weights))
        if actual_shape != expected_shape:
            raise WinnowError(
                f"the checkpoint {path} belongs to a different model: the weight {name} is {actual_shape} in the "
                f"checkpoint, but {expected_shape} in the model. {fix}",
                "study.rerun",
            )
    return content


def _describe_shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"


def _has_validation(trainer: pl.Trainer) -> bool:
    """Return whether the trainer has validation batches."""
    batches = trainer.num_val_batches
    return trainer.enable_validation and sum(batches if isinstance(batches, list) else [batches]) > 0


def _shorten_error_message(error: BaseException) -> str:
    """Return the first line of an error message, or the operating system's message if an ``OSError`` was the cause."""
    errors = (error, error.__context__)
    os_error = next((cause for cause in errors if isinstance(cause, OSError) and cause.strerror), None)
    text = str(os_error.strerror if os_error else error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")
