"""One run, from configuration to tracked scores; read it from top to bottom.

corpus -> verdicts -> training rows -> tokens -> base scores -> training -> scores -> record
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console

from winnow import recording
from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError
from winnow.overview import print_overview
from winnow.parts import Parts, cell_folder, cell_id, check_parts, check_store, construct_parts
from winnow.preparation import Ready, prepare
from winnow.tracking import TrackedRun, record, track

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from transformers import PreTrainedModel

    from winnow.evaluation import ProbeScores
    from winnow.training import MaskedLanguageModule


@dataclass(frozen=True)
class Measured:
    """What a model scored: one row a held-out text, one number a metric, and the probes' tables."""

    rows: pa.Table
    scores: dict[str, float]
    probes: dict[str, ProbeScores]


def run_single(cell: Cell[TrainConfig], console: Console) -> dict[str, float]:
    """Run one cell on its own, outside any study, and return its final scores."""
    parts = construct_parts(cell.config)
    check_store(parts.store)
    scores = run_cell(cell, parts, console=console)
    primary = cell.config.study.primary_metric
    if primary in scores:
        console.print(f"\n{primary} {scores[primary]:+.3f}, test loss {scores['test/all/loss']:.3f}")
        console.print("See it beside other runs with: winnow ui")
    return scores


def run_cell(
    cell: Cell[TrainConfig], parts: Parts, parent: str | None = None, console: Console | None = None
) -> dict[str, float]:
    """Train and measure one cell, and keep it in the store.

    Args:
        cell: The configuration.
        parts: What :func:`construct_parts` made of it.
        parent: The study's run, where there is one.
        console: Where an overview and a progress bar are shown; `None` keeps quiet.

    Returns:
        The final scores by metric name.
    """
    config = cell.config
    if not _is_first_process():  # the others of a distributed training only train
        ready = prepare(config, parts)
        fit(config, parts, ready, parts.model.load(ready.tokenizer, config.seed), cell_id(cell, parts))
        return {}
    experiment = parts.store.experiment(config.study.name)
    tags = {
        record.KIND: "cell",
        record.STUDY: config.study.name,
        record.ARM: parts.filter.name,
        record.SEED: str(config.seed),
        record.MAX_STEPS: str(config.training.max_steps),
    }
    with track(parts.store, experiment, f"{parts.filter.name}, seed {config.seed}", tags, parent) as run:
        begun = time.monotonic()
        check_parts([parts])
        ready = prepare(config, parts)
        name = cell_id(cell, parts)
        model = _load_model(parts, ready, config.seed)
        recording.record_inputs(run, cell, parts, ready, name)
        if console is not None:
            print_overview(console, config, parts, ready, model)
        before = measure(config, parts, ready, model)
        module = fit(config, parts, ready, model, name, run, progress=console is not None)
        after = measure(config, parts, ready, module.model)
        costs = {"tokens_seen": float(module.tokens_seen), "seconds": time.monotonic() - begun}
        folder = cell_folder(config, name)
        recording.record_results(run, ready, module.model, folder, before, after, costs)
    return after.scores


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


def measure(config: TrainConfig, parts: Parts, ready: Ready, model: PreTrainedModel) -> Measured:
    """Score a model on the held-out rows, whose masks never change, and on the probes.

    The masks of a held-out row depend on the mask seed, the row and the tokenizer alone, and never on `masking`, which
    an arm may change; so every arm guesses the same tokens.
    """
    from winnow.evaluation import score_rows, slice_metrics
    from winnow.training import Masking

    device, forward = _device(parts), config.training.forward
    tables: list[pa.Table] = []
    scores: dict[str, float] = {}
    for name, held_out in ready.held_out.items():
        evaluation = config.evaluation
        rows = score_rows(
            model,
            ready.tokens[name],
            Masking(),
            seed=evaluation.mask_seed,
            batch_size=evaluation.batch_size,
            device=device,
            forward=forward,
        )
        members = ready.members[name]
        for slice_name, metrics in slice_metrics(rows, members).items():
            scores |= {f"{name}/{slice_name}/{metric}": value for metric, value in metrics.items()}
        for column, values in (
            ("split", held_out["split"]),
            ("source", held_out["source"]),
            ("slices", _slice_names(members)),
        ):
            rows = rows.append_column(column, values)
        tables.append(rows)
    probes = {name: probe.run(model, ready.tokenizer, device, forward=forward) for name, probe in parts.probes.items()}
    for name, result in probes.items():
        scores |= {f"probe/{name}/{metric}": value for metric, value in result.summary().items()}
    return Measured(pa.concat_tables(tables), scores, probes)


def _load_model(parts: Parts, ready: Ready, seed: int) -> PreTrainedModel:
    try:
        return parts.model.load(ready.tokenizer, seed)
    except WinnowError as error:
        raise error.under("model") from error


def _slice_names(members: Mapping[str, npt.NDArray[np.bool_]]) -> pa.Array:
    """Return for each row the names of its slices; `all` goes without saying."""
    named = {name: inside for name, inside in members.items() if name != "all"}
    names = [[name for name, inside in named.items() if inside[row]] for row in range(len(members["all"]))]
    return pa.array(names, pa.list_(pa.string()))


def _device(parts: Parts) -> torch.device:
    import torch

    wants_gpu = parts.trainer.keywords.get("accelerator", "auto") in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")


def _is_first_process() -> bool:
    """Tell whether this process keeps the record."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0
