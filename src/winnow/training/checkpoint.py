"""The checkpoint a broken training is taken up from: written whole or not at all, checked before it is believed."""

from __future__ import annotations

import math
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from winnow.disk import flush_to_disk
from winnow.errors import WinnowError
from winnow.training.stop_signals import StopSignals

BYTES_PER_WEIGHT = 12
"""float32 weights, and the two moments that Adam keeps of each."""


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint, of the last good step, and stops at a step's end on Ctrl-C or SIGTERM.

    It writes after each look at the held-out rows, so that what those looks decided is in it, at the end, and before it
    gives way to a signal. It never writes between the accumulated batches of a step, where half of the gradients would
    be lost.

    Args:
        path: The file.
        every_steps: Optimizer steps between two checkpoints; those between two looks at the held-out rows.
    """

    def __init__(self, path: Path, every_steps: int) -> None:
        super().__init__()
        self.path, self.every_steps = path, every_steps
        self.signals = StopSignals()
        self._complete = self._stopping = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Watch for signals from here on; Lightning's own handlers are set already."""
        self.signals.watch(loud=trainer.is_global_zero)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write at the end of a step where it is time and no look at the held-out rows follows, or stop."""
        pl_module.stop_requested = self.signals.received is not None
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        due = trainer.global_step % self.every_steps == 0
        if due and _looks(trainer):
            return
        self._stopping = trainer.global_step < trainer.max_steps and pl_module.must_stop
        if due or self._stopping:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write, unless the end follows at once, and stop if that was asked for."""
        if trainer.global_step < trainer.max_steps:
            self._save(trainer)
            pl_module.stop_requested = self.signals.received is not None
            self._stopping = pl_module.must_stop

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, since what the step before has logged is kept only after all of its hooks."""
        if self._stopping:
            self.signals.stop()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the trained model, so that what may fail after this costs no training; then stop if that was asked."""
        self._complete = True
        self._save(trainer)
        self.signals.forget()
        if self.signals.received is not None:
            self.signals.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave the signals to others again."""
        self.signals.forget()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Note whether the training has come to its end."""
        checkpoint["complete"] = self._complete

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)


class BestCheckpoint(Checkpoint):
    """Keeps the weights of the look at the held-out rows with the lowest loss; of equals, the first.

    Args:
        path: The file; beside the weights it holds ``validation_loss``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.best = path, math.inf

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write where the loss is lower than before."""
        loss = float(trainer.callback_metrics["validation/loss"])
        if loss < self.best:
            self.best = loss
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Note the lowest loss; the last checkpoint carries it on."""
        checkpoint["validation_loss"] = self.best

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on from the lowest loss."""
        self.best = checkpoint["validation_loss"]


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there once it is whole.

    Lightning writes it to the system's temporary folder first, and where that is another disk the move is a copy: a
    full disk then leaves half a file in the place of the good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, or raise a :class:`WinnowError` and leave what was there."""
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
        except (OSError, RuntimeError) as fault:  # torch tells of a write that fell short by a RuntimeError
            step = checkpoint.get("global_step")
            raise WinnowError(
                f"The checkpoint of step {step} cannot be written to {final.parent}: {_reason(fault)}. The one from "
                "before is kept. Make room, and the same command goes on from there.",
                key="output_dir",
            ) from fault
        finally:
            draft.unlink(missing_ok=True)


def check_room(folder: Path, model: torch.nn.Module) -> None:
    """Raise where a folder's disk cannot hold a new checkpoint beside the old one.

    Raises:
        WinnowError: With key ``output_dir``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = sum(parameter.numel() for parameter in model.parameters())
    needed, free = 2 * BYTES_PER_WEIGHT * weights, shutil.disk_usage(folder).free
    if needed > free:
        raise WinnowError(
            f"The disk of {folder} has {free / 1e9:.1f} GB left, and the checkpoints of this model need up to "
            f"{needed / 1e9:.1f} GB. Make room, or give another folder.",
            key="output_dir",
        )


def open_checkpoint(path: Path, model: torch.nn.Module) -> dict[str, Any]:
    """Return what a checkpoint holds, its tensors not read yet, once it is clear that it is one of this model.

    Raises:
        WinnowError: It cannot be read, or is of another model; with key ``study.rerun``, which leaves it aside.
    """
    mend = "Delete the file, or set study.rerun=all, and the training begins anew."
    try:
        _check_digests(path)
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        weights = {name.removeprefix("model."): tensor for name, tensor in content["state_dict"].items()}
    except Exception as fault:  # what torch raises depends on which byte is wrong
        raise WinnowError(f"The checkpoint {path} is damaged: {_reason(fault)}. {mend}", "study.rerun") from fault
    expected = model.state_dict()
    for name in [*expected, *weights]:
        there, here = (_shape(tensors.get(name)) for tensors in (weights, expected))
        if there != here:
            told = f"its {name} is {there}, and that of the model is {here}"
            raise WinnowError(f"The checkpoint {path} is of another model: {told}. {mend}", "study.rerun")
    return content


def _check_digests(path: Path) -> None:
    """Compare every tensor with its checksum, which ``torch.load(mmap=True)`` does not read.

    Raises:
        ValueError: One differs.
        zipfile.BadZipFile: The file is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        if (name := archive.testzip()) is not None:
            raise ValueError(f"{name} does not match its checksum")


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"


def _looks(trainer: pl.Trainer) -> bool:
    """Tell whether there are held-out rows to look at."""
    batches = trainer.num_val_batches
    return trainer.enable_validation and sum(batches if isinstance(batches, list) else [batches]) > 0


def _reason(fault: BaseException) -> str:
    """Return the first line of what went wrong, which an operating system's own words say best."""
    cause = next((one for one in (fault, fault.__context__) if isinstance(one, OSError) and one.strerror), None)
    text = str(cause.strerror if cause else fault) or type(fault).__name__
    return text.splitlines()[0].rstrip(".")
