"""The training of one cell: Lightning's trainer, set up for a budget of steps, and a checkpoint to take up again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config import TrainConfig
from winnow.errors import WinnowError
from winnow.parts import Parts, cell_folder
from winnow.preparation import Ready
from winnow.tracking import TrackedRun

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback
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
    callbacks: Sequence[Callback] = (),
) -> MaskedLanguageModule:
    """Train a model in place for its budget of steps; a checkpoint that an earlier attempt left is taken up.

    The checkpoint stays when the training is done, so that what fails after it costs no training; see
    :func:`drop_checkpoint`.

    Returns:
        The module that holds the model after its last step.
    """
    import pytorch_lightning as pl

    from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule
    from winnow.training.optimization import freeze
    from winnow.training.progress import quieten_libraries

    quieten_libraries()
    pl.seed_everything(config.seed, verbose=False)
    training = config.training
    freeze(model, training.freeze)
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
        module.load_state_dict(found["state_dict"])
        module.on_load_checkpoint(found)
        for callback in callbacks:
            callback.load_state_dict(found["callbacks"].get(callback.state_key, {}))
        return module
    checkpoint = checkpoint_of(config, name)
    trainer = _trainer(config, parts, checkpoint, run, progress, callbacks)
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
    """Remove the checkpoint of a cell whose results are kept."""
    checkpoint_of(config, name).unlink(missing_ok=True)


def checkpoint_of(config: TrainConfig, name: str) -> Path:
    """Return where a cell keeps the checkpoint that a broken run is taken up from."""
    return cell_folder(config, name) / "last.ckpt"


def _trainer(
    config: TrainConfig,
    parts: Parts,
    checkpoint: Path,
    run: TrackedRun | None,
    progress: bool,
    others: Sequence[Callback],
) -> pl.Trainer:
    """Return Lightning's trainer for a budget of steps, with a checkpoint at each look at the validation loss."""
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from winnow.tracking.logger import RunLogger
    from winnow.training.checkpoint import LastCheckpoint, WholeFiles
    from winnow.training.progress import StepProgressBar

    training = config.training
    pace = min(training.validate_every_steps, training.max_steps)
    callbacks: list[Callback] = [*others, LastCheckpoint(checkpoint, pace)]
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
