"""Trains the model of one cell with Lightning's `Trainer`, and resumes from the last checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from winnow.config.schema import TrainingConfig
from winnow.errors import WinnowError
from winnow.metrics.metric_names import VALIDATION_LOSS, stage_metric_name
from winnow.run.checkpoint_files import (
    BEST_CHECKPOINT,
    LAST_CHECKPOINT,
    load_best_checkpoint,
    load_last_checkpoint,
)
from winnow.run.pruning import Pruning
from winnow.run.run_inputs import RunInputs
from winnow.tracking import TrackedRun

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback
    from transformers import PreTrainedModel

    from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, TrainingBatches


@dataclass(frozen=True)
class FitResult:
    """The trained model and its training statistics.

    Attributes:
        model: The model after its last step, or with its best weights if `training.keep` is `best`.
        tokens_seen: The number of tokens in all training batches.
        flops: The floating-point operations that the training loss requires; see `flops_per_token`.
        best_metrics: The step and the validation loss of the best checkpoint; empty if `training.keep` is `last`.
        curves: The probe scores by step.
    """

    model: PreTrainedModel
    tokens_seen: int
    flops: float
    best_metrics: dict[str, float]
    curves: pa.Table


def fit(
    inputs: RunInputs,
    run: TrackedRun | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    pruning: Pruning | None = None,
) -> FitResult:
    """Train the model in place until its budget is exhausted, resuming from the last checkpoint if there is one.

    The checkpoint is kept after training, so that the model does not have to be trained again if a later stage fails.
    The pipeline removes the checkpoint at the end of the run.

    Args:
        inputs: The inputs of the run.
        run: The run to which metrics are logged; `None` disables logging.
        callbacks: Additional callbacks for Lightning's `Trainer`.
        progress: Whether to show a progress bar.
        pruning: The rule that stops the run early; `None` trains until the budget is exhausted.

    Raises:
        RunPruned: If the rule stopped the run.
    """
    import pytorch_lightning as pl

    from winnow.evaluation.probes.probe_callback import ProbeCallback
    from winnow.run.pruning_callback import PruningCallback
    from winnow.tracking.lightning_logger import BufferedMetrics
    from winnow.training.progress import silence_libraries
    from winnow.training.throughput import Throughput

    silence_libraries()
    config = inputs.config
    pl.seed_everything(config.seed, verbose=False)
    module = _build_module(inputs)
    probe_callback = ProbeCallback(inputs.components.probes, inputs.tokenizer, config.training.forward)
    throughput = Throughput()
    callbacks = [*callbacks, throughput, probe_callback, *([BufferedMetrics(run)] if run is not None else [])]
    if pruning is not None:
        callbacks.append(PruningCallback(pruning, probe_callback))
    checkpoint = _load_resume_checkpoint(inputs)
    if checkpoint is not None and checkpoint["complete"]:
        _restore_completed_training(module, callbacks, checkpoint)
    else:
        _train(module, inputs, _build_trainer(inputs, run, callbacks, progress), resume=checkpoint is not None)
    best_metrics = _restore_best_weights(module, inputs) if config.training.keep == "best" else {}
    return FitResult(module.model, module.tokens_seen, throughput.total_flops, best_metrics, probe_callback.to_table())


def _build_module(inputs: RunInputs) -> MaskedLanguageModule:
    """Build the Lightning module, and freeze the parameters that the configuration selects."""
    from winnow.training import MaskedLanguageModule
    from winnow.training.optimization import enable_gradient_checkpointing, freeze_parameters

    model, training = inputs.model, inputs.config.training
    freeze_parameters(model, training.freeze)
    if training.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    return MaskedLanguageModule(
        model,
        inputs.components.optimizer,
        training.warmup_fraction,
        inputs.config.seed,
        training.forward,
        training.scheduler,
    )


def _restore_completed_training(
    module: MaskedLanguageModule, callbacks: Sequence[Callback], checkpoint: dict[str, Any]
) -> None:
    """Restore the last weights and the callback states of a completed training run."""
    module.load_state_dict(checkpoint["state_dict"])
    module.on_load_checkpoint(checkpoint)
    for callback in callbacks:
        callback.load_state_dict(checkpoint["callbacks"].get(callback.state_key, {}))


def _train(module: MaskedLanguageModule, inputs: RunInputs, trainer: pl.Trainer, resume: bool) -> None:
    """Train until the budget is exhausted, resuming from the last checkpoint if `resume` is set."""
    checkpoint = inputs.folder / LAST_CHECKPOINT
    try:
        trainer.fit(module, _build_data_module(inputs), ckpt_path=checkpoint if resume else None, weights_only=True)
    except SystemExit as stop:
        if stop.code == 1 and trainer.interrupted:  # Lightning raises this exception after Ctrl-C
            raise KeyboardInterrupt from stop
        raise
    except WinnowError as error:
        if not checkpoint.exists():
            raise
        raise WinnowError(f"{error.message} The last good checkpoint is {checkpoint}.", error.key) from error


def _build_data_module(inputs: RunInputs) -> MaskedLanguageDataModule:
    from winnow.training import MaskedLanguageDataModule

    training, evaluation = inputs.config.training, inputs.config.evaluation
    return MaskedLanguageDataModule(
        inputs.train_tokens,
        inputs.held_out["validation"].tokens,
        inputs.masking,
        training.batch_size,
        inputs.config.seed,
        validation_seed=evaluation.mask_seed,
        validation_batch_size=evaluation.batch_size,
        max_tokens=training.max_tokens if training.batching == "tokens" else None,
    )


def check_fit_inputs(inputs: RunInputs) -> None:
    """Check that training can start. The check runs before the baseline evaluation.

    Raises:
        WinnowError: If a training step or the validation split has fewer rows than there are processes, if a
            checkpoint is damaged or does not match the model, or if there is not enough disk space for new checkpoints.
    """
    from winnow.training import HeldOutBatches, Masking, Shard

    batches = _build_batches(inputs)
    validation = inputs.held_out["validation"].tokens
    HeldOutBatches(validation, Masking(), 0, 1, Shard(0, batches.shard.world_size))
    _load_resume_checkpoint(inputs)


def _load_resume_checkpoint(inputs: RunInputs) -> dict[str, Any] | None:
    return load_last_checkpoint(inputs.folder, inputs.model, restart=inputs.config.study.rerun == "all")


def _restore_best_weights(module: MaskedLanguageModule, inputs: RunInputs) -> dict[str, float]:
    """Restore the weights of the best checkpoint, and return its step and validation loss."""
    best = load_best_checkpoint(inputs.folder, inputs.model)
    module.load_state_dict(best["state_dict"])
    return {
        stage_metric_name("best", "step"): best["global_step"],
        stage_metric_name("best", VALIDATION_LOSS): best["validation_loss"],
    }


def _build_batches(inputs: RunInputs) -> TrainingBatches:
    """Return the training batches of the process with rank 0."""
    from winnow.training import Masking, Shard, TrainingBatches

    options, training = inputs.components.trainer.keywords, inputs.config.training
    devices, nodes = options["devices"], options["num_nodes"]
    processes = devices * nodes if isinstance(devices, int) and devices > 0 else 1
    tokens = training.max_tokens if training.batching == "tokens" else None
    shard = Shard(0, processes, training.accumulate_batches)
    rows, seed = inputs.train_tokens, inputs.config.seed
    return TrainingBatches(rows, Masking(), seed, training.batch_size, 1, shard, max_tokens=tokens)


def _build_trainer(
    inputs: RunInputs, run: TrackedRun | None, callbacks: Sequence[Callback], progress: bool
) -> pl.Trainer:
    """Build Lightning's `Trainer` with the configured budget and a checkpoint after each validation run."""
    from winnow.tracking.lightning_logger import RunLogger
    from winnow.training.checkpoint import AtomicCheckpointIO

    training, checkpoint = inputs.config.training, inputs.folder / LAST_CHECKPOINT
    steps = _count_steps(inputs)
    interval = min(training.validate_every_steps, steps)
    try:
        return inputs.components.trainer(
            max_steps=steps,
            accumulate_grad_batches=training.accumulate_batches,
            gradient_clip_val=training.gradient_clip,
            check_val_every_n_epoch=None,  # the budget is in steps, not in epochs
            val_check_interval=interval * training.accumulate_batches,
            log_every_n_steps=min(10, interval),
            callbacks=[*callbacks, *_build_callbacks(training, checkpoint, interval, progress)],
            plugins=[AtomicCheckpointIO()],
            logger=RunLogger(run) if run is not None else False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            default_root_dir=checkpoint.parent,
        )
    except WinnowError:
        raise
    except Exception as error:  # Lightning raises exceptions of several types, for example if no GPU is available
        raise WinnowError(
            f"cannot build Lightning's Trainer with these arguments: {str(error).rstrip('.')}. Choose another trainer, "
            "such as trainer=cpu.",
            "trainer",
        ) from error


def _count_steps(inputs: RunInputs) -> int:
    """Return the number of optimizer steps in the budget."""
    training = inputs.config.training
    if training.max_passes is not None:
        return _build_batches(inputs).count_steps_for_passes(training.max_passes)
    if training.total_tokens is None:
        return training.max_steps
    return _build_batches(inputs).count_steps_for_tokens(training.total_tokens)


def _build_callbacks(training: TrainingConfig, checkpoint: Path, interval: int, progress: bool) -> list[Callback]:
    """Build the callbacks. `LastCheckpoint` must come last, since it saves the states of all other callbacks."""
    from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, Timer

    from winnow.training.checkpoint import BestCheckpoint, LastCheckpoint
    from winnow.training.progress import StepProgressBar

    callbacks: list[Callback] = []
    if training.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=training.ema_decay, use_buffers=False))
    if training.max_minutes is not None:
        callbacks.append(Timer(timedelta(minutes=training.max_minutes), verbose=False))
    if training.patience is not None:
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=training.patience))
    if progress:
        callbacks.append(StepProgressBar())
    if training.keep == "best":
        callbacks.append(BestCheckpoint(checkpoint.with_name(BEST_CHECKPOINT)))
    return [*callbacks, LastCheckpoint(checkpoint, interval)]
