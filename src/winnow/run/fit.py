"""The training of one cell: Lightning's trainer, set up for a budget of steps, and a checkpoint to take up again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config import TrainConfig
from winnow.config.schema import Training
from winnow.errors import WinnowError
from winnow.run.components import Parts, cell_folder
from winnow.run.inputs import Ready
from winnow.tracking import TrackedRun

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback
    from transformers import PreTrainedModel

    from winnow.training import MaskedLanguageModule, TrainingBatches


def fit(
    config: TrainConfig,
    parts: Parts,
    ready: Ready,
    model: PreTrainedModel,
    name: str,
    run: TrackedRun | None = None,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
) -> MaskedLanguageModule:
    """Train a model in place for its budget of steps; a checkpoint that an earlier attempt left is taken up.

    The checkpoint stays when the training is done, so that what fails after it costs no training; see
    :func:`drop_checkpoint`.

    Returns:
        The module that holds the model after its last step.
    """
    import pytorch_lightning as pl
    import torch

    from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule
    from winnow.training.optimization import compute_twice, freeze
    from winnow.training.progress import quieten_libraries

    quieten_libraries()
    pl.seed_everything(config.seed, verbose=False)
    training = config.training
    freeze(model, training.freeze)
    if training.gradient_checkpointing:
        compute_twice(model)
    module = MaskedLanguageModule(
        model, parts.optimizer, training.warmup_fraction, config.seed, training.forward, training.scheduler
    )
    data = MaskedLanguageDataModule(
        ready.tokens["train"],
        ready.tokens["validation"],
        ready.masking,
        config.training.batch_size,
        config.seed,
        validation_seed=config.evaluation.mask_seed,
        validation_batch_size=config.evaluation.batch_size,
        max_tokens=training.max_tokens if training.batching == "tokens" else None,
    )
    found = find_checkpoint(config, model, name)
    if found is not None and found["complete"]:
        kept = found if training.keep == "last" else torch.load(_best(config, name), weights_only=True)
        module.load_state_dict(kept["state_dict"])
        module.on_load_checkpoint(found)
        for callback in callbacks:
            callback.load_state_dict(found["callbacks"].get(callback.state_key, {}))
        return module
    checkpoint = checkpoint_of(config, name)
    trainer = _trainer(config, parts, ready, checkpoint, run, progress, callbacks)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint if found is not None else None, weights_only=True)
    except SystemExit as stop:
        if stop.code == 1 and trainer.interrupted:  # Lightning's way to tell of a Ctrl-C
            raise KeyboardInterrupt from stop
        raise
    except WinnowError as error:
        if not checkpoint.exists():
            raise
        raise WinnowError(f"{error.message} The last good checkpoint is {checkpoint}.", error.key) from error
    if training.keep == "best":
        module.load_state_dict(torch.load(_best(config, name), weights_only=True)["state_dict"])
    return module


def find_checkpoint(config: TrainConfig, model: PreTrainedModel, name: str) -> dict[str, Any] | None:
    """Return what an earlier attempt at a cell left to take up, or `None` where there is nothing.

    Raises:
        WinnowError: It is damaged or of another model, or there is no room for new ones.
    """
    from winnow.training.checkpoint import check_room, open_checkpoint

    checkpoint = checkpoint_of(config, name)
    check_room(checkpoint.parent, model)
    if config.study.rerun == "all":
        checkpoint.unlink(missing_ok=True)
    return open_checkpoint(checkpoint, model) if checkpoint.exists() else None


def drop_checkpoint(config: TrainConfig, name: str) -> None:
    """Remove the checkpoints of a cell whose results are kept."""
    for checkpoint in (checkpoint_of(config, name), _best(config, name)):
        checkpoint.unlink(missing_ok=True)


def best_look(config: TrainConfig, name: str) -> dict[str, float]:
    """Return step and score of the look at the validation loss whose weights were kept; empty where the last were."""
    import torch

    if config.training.keep == "last":
        return {}
    best = torch.load(_best(config, name), weights_only=True, mmap=True)
    return {"best/step": best["global_step"], "best/validation/loss": best["validation_loss"]}


def check_fit(config: TrainConfig, parts: Parts, ready: Ready) -> None:
    """Raise, before any model is measured, where the rows cannot be shared among the processes.

    Raises:
        WinnowError: Fewer rows in a step or a held-out split than processes.
    """
    from winnow.training import HeldOutBatches, Masking, Share

    batches = _batches(config, parts, ready)
    HeldOutBatches(ready.tokens["validation"], Masking(), 0, 1, Share(0, batches.share.world_size))


def _batches(config: TrainConfig, parts: Parts, ready: Ready) -> TrainingBatches:
    """Return the first process' training batches, as far as their rows go."""
    from winnow.training import Masking, Share, TrainingBatches

    options, training = parts.trainer.keywords, config.training
    devices, nodes = options.get("devices", 1), options.get("num_nodes", 1)
    processes = devices * nodes if isinstance(devices, int) and devices > 0 else 1
    tokens = training.max_tokens if training.batching == "tokens" else None
    share = Share(0, processes, training.accumulate_batches)
    rows = ready.tokens["train"]
    return TrainingBatches(rows, Masking(), config.seed, training.batch_size, 1, share, max_tokens=tokens)


def _best(config: TrainConfig, name: str) -> Path:
    return cell_folder(config, name) / "best.ckpt"


def checkpoint_of(config: TrainConfig, name: str) -> Path:
    """Return where a cell keeps the checkpoint that a broken run is taken up from."""
    return cell_folder(config, name) / "last.ckpt"


def _trainer(
    config: TrainConfig,
    parts: Parts,
    ready: Ready,
    checkpoint: Path,
    run: TrackedRun | None,
    progress: bool,
    others: Sequence[Callback],
) -> pl.Trainer:
    """Return Lightning's trainer for a budget of steps, with a checkpoint at each look at the validation loss."""
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from winnow.tracking.logger import FlushFirst, RunLogger
    from winnow.training.checkpoint import WholeFiles

    training = config.training
    steps = _steps(config, parts, ready)
    pace = min(training.validate_every_steps, steps)
    tracking = [FlushFirst(run)] if run is not None else []
    try:
        return parts.trainer(
            max_steps=steps,
            accumulate_grad_batches=training.accumulate_batches,
            gradient_clip_val=training.gradient_clip,
            check_val_every_n_epoch=None,  # the budget is in steps, not in passes
            val_check_interval=pace * training.accumulate_batches,
            log_every_n_steps=min(10, pace),
            callbacks=[*others, *tracking, *_callbacks(training, checkpoint, pace, progress)],
            plugins=[WholeFiles()],
            logger=RunLogger(run) if run is not None else False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=checkpoint.parent,
        )
    except MisconfigurationException as error:  # such as a GPU that is not there
        raise WinnowError(
            f"Lightning's trainer refuses: {error} Choose another, as in trainer=cpu.", "trainer"
        ) from error


def _steps(config: TrainConfig, parts: Parts, ready: Ready) -> int:
    """Return the optimizer steps of the budget."""
    training = config.training
    if training.total_tokens is None:
        return training.max_steps
    return _batches(config, parts, ready).steps_to(training.total_tokens)


def _callbacks(training: Training, checkpoint: Path, pace: int, progress: bool) -> list[Callback]:
    """Return what accompanies the steps; the last checkpoint comes last, since it holds what the others decided."""
    from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, Timer

    from winnow.training.checkpoint import BestCheckpoint, LastCheckpoint
    from winnow.training.progress import StepProgressBar
    from winnow.training.throughput import Throughput

    callbacks: list[Callback] = [Throughput()]
    if training.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=training.ema_decay, use_buffers=False))
    if training.max_minutes is not None:
        callbacks.append(Timer(timedelta(minutes=training.max_minutes), verbose=False))
    if training.patience is not None:
        callbacks.append(EarlyStopping("validation/loss", patience=training.patience))
    if progress:
        callbacks.append(StepProgressBar())
    if training.keep == "best":
        callbacks.append(BestCheckpoint(checkpoint.with_name("best.ckpt")))
    return [*callbacks, LastCheckpoint(checkpoint, pace)]
