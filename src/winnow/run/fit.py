"""The training of one cell: Lightning's trainer, a budget of steps, and checkpoints to resume from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from winnow.config.schema import Training
from winnow.errors import WinnowError
from winnow.metrics.metric_names import VALIDATION_LOSS, stage_metric_name
from winnow.run.checkpoint_files import BEST, LAST, find_checkpoint
from winnow.run.inputs import Inputs
from winnow.tracking import TrackedRun

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback
    from transformers import PreTrainedModel

    from winnow.training import MaskedLanguageDataModule, MaskedLanguageModule, TrainingBatches


@dataclass(frozen=True)
class Fitted:
    """A trained model and what its training recorded.

    Attributes:
        model: The model after its last step, or with its best weights if `training.keep` is `best`.
        tokens_seen: Tokens that all steps took through the model.
        best: Step and score of the validation whose weights were kept; empty if the last ones were.
        curves: The scores of the probes by step.
    """

    model: PreTrainedModel
    tokens_seen: int
    best: dict[str, float]
    curves: pa.Table


def fit(
    inputs: Inputs, run: TrackedRun | None = None, callbacks: Sequence[Callback] = (), progress: bool = False
) -> Fitted:
    """Train the model in place for its budget of steps, from the checkpoint of an earlier attempt if there is one.

    The checkpoint stays after training, so that an error after it costs no training; the pipeline removes it.

    Args:
        inputs: The first stage's result.
        run: Where metrics are logged.
        callbacks: Further callbacks of Lightning's trainer.
        progress: Whether to show a progress bar.
    """
    import pytorch_lightning as pl

    from winnow.evaluation.probes.probe_callback import ProbeCallback
    from winnow.tracking.logger import BufferedMetrics
    from winnow.training.progress import silence_libraries

    silence_libraries()
    config = inputs.config
    pl.seed_everything(config.seed, verbose=False)
    module = _module(inputs)
    probe_callback = ProbeCallback(inputs.components.probes, inputs.tokenizer, config.training.forward)
    callbacks = [*callbacks, probe_callback, *([BufferedMetrics(run)] if run is not None else [])]
    found = _checkpoint(inputs)
    if found is not None and found["complete"]:
        _restore(module, callbacks, found, inputs)
    else:
        _train(module, inputs, _trainer(inputs, run, callbacks, progress), resume=found is not None)
    return Fitted(module.model, module.tokens_seen, _best_step(inputs), probe_callback.to_table())


def _module(inputs: Inputs) -> MaskedLanguageModule:
    """Return the Lightning module of the model, with the parameters frozen that the configuration freezes."""
    from winnow.training import MaskedLanguageModule
    from winnow.training.optimization import enable_gradient_checkpointing, freeze

    model, training = inputs.model, inputs.config.training
    freeze(model, training.freeze)
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


def _restore(
    module: MaskedLanguageModule, callbacks: Sequence[Callback], checkpoint: dict[str, Any], inputs: Inputs
) -> None:
    """Restore the weights and the records of a training that is complete."""
    import torch

    best = inputs.folder / BEST
    kept = checkpoint if inputs.config.training.keep == "last" else torch.load(best, weights_only=True)
    module.load_state_dict(kept["state_dict"])
    module.on_load_checkpoint(checkpoint)
    for callback in callbacks:
        callback.load_state_dict(checkpoint["callbacks"].get(callback.state_key, {}))


def _train(module: MaskedLanguageModule, inputs: Inputs, trainer: pl.Trainer, resume: bool) -> None:
    """Train to the end of the budget, from the last checkpoint if the training resumes."""
    import torch

    checkpoint = inputs.folder / LAST
    try:
        trainer.fit(module, _data(inputs), ckpt_path=checkpoint if resume else None, weights_only=True)
    except SystemExit as stop:
        if stop.code == 1 and trainer.interrupted:  # how Lightning reports Ctrl-C
            raise KeyboardInterrupt from stop
        raise
    except WinnowError as error:
        if not checkpoint.exists():
            raise
        raise WinnowError(f"{error.message} The last good checkpoint is {checkpoint}.", error.key) from error
    if inputs.config.training.keep == "best":
        module.load_state_dict(torch.load(inputs.folder / BEST, weights_only=True)["state_dict"])


def _data(inputs: Inputs) -> MaskedLanguageDataModule:
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


def check_fit(inputs: Inputs) -> None:
    """Raise, before any model is evaluated, if the training could not start.

    Raises:
        WinnowError: A step or a held-out split has fewer rows than there are processes, an earlier checkpoint is
            damaged or of another model, or there is no room for new ones.
    """
    from winnow.training import HeldOutBatches, Masking, Shard

    batches = _batches(inputs)
    validation = inputs.held_out["validation"].tokens
    HeldOutBatches(validation, Masking(), 0, 1, Shard(0, batches.shard.world_size))
    _checkpoint(inputs)


def _checkpoint(inputs: Inputs) -> dict[str, Any] | None:
    return find_checkpoint(inputs.folder, inputs.model, restart=inputs.config.study.rerun == "all")


def _best_step(inputs: Inputs) -> dict[str, float]:
    """Return step and score of the validation whose weights were kept; empty if the last ones were."""
    import torch

    if inputs.config.training.keep == "last":
        return {}
    best = torch.load(inputs.folder / BEST, weights_only=True, mmap=True)
    return {
        stage_metric_name("best", "step"): best["global_step"],
        stage_metric_name("best", VALIDATION_LOSS): best["validation_loss"],
    }


def _batches(inputs: Inputs) -> TrainingBatches:
    """Return the first process' training batches, as far as their rows go."""
    from winnow.training import Masking, Shard, TrainingBatches

    options, training = inputs.components.trainer.keywords, inputs.config.training
    devices, nodes = options["devices"], options["num_nodes"]
    processes = devices * nodes if isinstance(devices, int) and devices > 0 else 1
    tokens = training.max_tokens if training.batching == "tokens" else None
    shard = Shard(0, processes, training.accumulate_batches)
    rows, seed = inputs.train_tokens, inputs.config.seed
    return TrainingBatches(rows, Masking(), seed, training.batch_size, 1, shard, max_tokens=tokens)


def _trainer(inputs: Inputs, run: TrackedRun | None, others: Sequence[Callback], progress: bool) -> pl.Trainer:
    """Return Lightning's trainer for a budget of steps, with a checkpoint at each validation."""
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    from winnow.tracking.logger import RunLogger
    from winnow.training.checkpoint import AtomicCheckpointIO

    training, checkpoint = inputs.config.training, inputs.folder / LAST
    steps = _steps(inputs)
    pace = min(training.validate_every_steps, steps)
    try:
        return inputs.components.trainer(
            max_steps=steps,
            accumulate_grad_batches=training.accumulate_batches,
            gradient_clip_val=training.gradient_clip,
            check_val_every_n_epoch=None,  # the budget is in steps, not in passes
            val_check_interval=pace * training.accumulate_batches,
            log_every_n_steps=min(10, pace),
            callbacks=[*others, *_callbacks(training, checkpoint, pace, progress)],
            plugins=[AtomicCheckpointIO()],
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


def _steps(inputs: Inputs) -> int:
    """Return the optimizer steps of the budget."""
    training = inputs.config.training
    if training.total_tokens is None:
        return training.max_steps
    return _batches(inputs).steps_for_tokens(training.total_tokens)


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
        callbacks.append(EarlyStopping(VALIDATION_LOSS, patience=training.patience))
    if progress:
        callbacks.append(StepProgressBar())
    if training.keep == "best":
        callbacks.append(BestCheckpoint(checkpoint.with_name(BEST)))
    return [*callbacks, LastCheckpoint(checkpoint, pace)]
