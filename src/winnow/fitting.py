"""The training of one cell: Lightning's trainer, set up for a budget of steps, and a checkpoint to take up again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config import TrainConfig
from winnow.errors import WinnowError
from winnow.parts import Parts, cell_folder
from winnow.preparation import Ready
from winnow.tracking import TrackedRun

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from transformers import PreTrainedModel

    from winnow.training import MaskedLanguageModule


def fit(
    config: TrainConfig,
    parts: Parts,
    ready: Ready,
    model: PreTrainedModel,
    name: str,
    run: TrackedRun | None = None,
    progress: bool = False,
) -> MaskedLanguageModule:
    """Train a model in place for its budget of steps; a checkpoint that an earlier attempt left is taken up.

    Returns:
        The module that holds the model after its last step.
    """
    import pytorch_lightning as pl

    from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule
    from winnow.training.progress import quieten_libraries

    quieten_libraries()
    pl.seed_everything(config.seed, verbose=False)
    training = config.training
    module = MaskedLanguageModule(model, parts.optimizer, training.warmup_fraction, config.seed, training.forward)
    data = MaskedLanguageDataModule(
        ready.tokens["train"],
        ready.tokens["validation"],
        parts.masking,
        config.training.batch_size,
        config.seed,
        validation_seed=config.evaluation.mask_seed,
        validation_batch_size=config.evaluation.batch_size,
    )
    folder = cell_folder(config, name)
    checkpoint = folder / "last.ckpt"
    if config.study.rerun == "all":
        checkpoint.unlink(missing_ok=True)
    trainer = _trainer(config, parts, folder, run, progress)
    try:
        trainer.fit(module, data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    except SystemExit as stop:
        if stop.code == 1 and trainer.interrupted:  # Lightning's way to tell of a Ctrl-C
            raise KeyboardInterrupt from stop
        raise
    if trainer.is_global_zero:
        checkpoint.unlink(missing_ok=True)  # it served to take up a broken training; the model itself is kept
    return module


def _trainer(config: TrainConfig, parts: Parts, folder: Path, run: TrackedRun | None, progress: bool) -> pl.Trainer:
    """Return Lightning's trainer for a budget of steps, with a checkpoint at each look at the validation loss."""
    from pytorch_lightning.callbacks import Callback, ModelCheckpoint
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from winnow.tracking.logger import RunLogger
    from winnow.training.progress import StepProgressBar

    training = config.training
    pace = min(training.validate_every_steps, training.max_steps)
    callbacks: list[Callback] = [ModelCheckpoint(folder, filename="last", every_n_train_steps=pace)]
    if progress:
        callbacks.append(StepProgressBar())
    try:
        return parts.trainer(
            max_steps=training.max_steps,
            accumulate_grad_batches=training.accumulate_batches,
            gradient_clip_val=training.gradient_clip,
            check_val_every_n_epoch=None,  # the budget is in steps, not in passes
            val_check_interval=pace * training.accumulate_batches,
            log_every_n_steps=min(10, pace),
            callbacks=callbacks,
            logger=RunLogger(run) if run is not None else False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
    except MisconfigurationException as error:  # such as a GPU that is not there
        raise WinnowError(
            f"Lightning's trainer refuses: {error} Choose another, as in trainer=cpu.", "trainer"
        ) from error
