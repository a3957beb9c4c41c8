"""One run, from configuration to tracked scores; read it from top to bottom.

corpus -> verdicts -> training rows -> tokens -> base scores -> training -> scores -> record
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console

from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError
from winnow.run import log_run
from winnow.run.components import Parts, cell_folder, cell_id, check_parts, check_store, construct_parts
from winnow.run.fit import best_look, check_fit, checkpoint_of, drop_checkpoint, find_checkpoint, fit
from winnow.run.inputs import Ready, prepare
from winnow.run.numerics_setup import set_up_arithmetic
from winnow.run.overview import print_overview
from winnow.run.score import measure
from winnow.tracking import Attempt, attempts, close_stale_runs, keys, track

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback
    from transformers import PreTrainedModel

    from winnow.evaluation.probes.probe_callback import ProbeFollower
    from winnow.training.progress import Stopwatch


def run_single(cell: Cell[TrainConfig], console: Console) -> dict[str, float]:
    """Run one cell on its own, outside any study, and return its final scores; one that broke off is taken up."""
    parts = construct_parts(cell.config)
    check_store(parts.store)
    attempt = _broken_attempt(cell, parts) if is_first_process() else None
    if attempt is not None:
        console.print(f"An earlier run of this cell broke off ({attempt.cause}); it is taken up again.")
    scores = run_cell(cell, parts, run_id=attempt.run_id if attempt else None, console=console)
    primary = cell.config.study.primary_metric
    if primary in scores:
        console.print(f"\n{primary} {scores[primary]:+.3f}, test loss {scores['test/all/loss']:.3f}")
        console.print("See it beside other runs with: winnow ui")
    return scores


def _broken_attempt(cell: Cell[TrainConfig], parts: Parts) -> Attempt | None:
    """Return the run of this cell that broke off with a checkpoint; a checkpoint without its run is dropped."""
    try:
        experiment = parts.store.experiment(cell.config.study.name)
        close_stale_runs(parts.store, experiment)
        name = cell_id(cell, parts)
        attempt = attempts(parts.store, experiment).get(name)
    except WinnowError:  # the run itself meets it again, and keeps it; or there is no store to ask
        return None
    if attempt is not None and can_be_resumed(cell.config, name, attempt):
        return attempt
    drop_checkpoint(cell.config, name)
    return None


def can_be_resumed(config: TrainConfig, name: str, attempt: Attempt) -> bool:
    """Tell whether a cell's broken run can go on from a checkpoint, and is to."""
    is_broken = not attempt.has_finished and not attempt.is_alive
    return is_broken and config.study.rerun == "none" and checkpoint_of(config, name).exists()


def run_cell(
    cell: Cell[TrainConfig],
    parts: Parts,
    parent: str | None = None,
    *,
    name: str | None = None,
    run_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    console: Console | None = None,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Train and measure one cell, and keep it in the store.

    Args:
        cell: The configuration.
        parts: What :func:`construct_parts` made of it.
        parent: The study's run, where there is one.
        name: The cell's id, where it is known already.
        run_id: The broken run that is taken up; `None` makes a new one.
        tags: Tags of the run that stand beside, or instead of, a cell's own.
        console: Where an overview and a progress bar are shown; `None` keeps quiet.
        on_step: Told now and then how many optimizer steps were taken.

    Returns:
        The final scores by metric name.
    """
    config = cell.config
    if not is_first_process():  # the others of a distributed training only train
        ready = prepare(config, parts)
        model = parts.model.load(ready.tokenizer, config.seed)
        set_up_arithmetic(config, parts, ready, model)
        fit(config, parts, ready, model, cell_id(cell, parts), callbacks=[_follower(config, parts, ready)])
        return {}
    metrics = [config.study.primary_metric, *config.study.secondary_metrics]
    experiment = parts.store.experiment(config.study.name, metrics)
    own = {
        keys.KIND: "cell",
        keys.STUDY: config.study.name,
        keys.ARM: parts.filter.name,
        keys.SEED: str(config.seed),
        keys.MAX_STEPS: config.training.budget,
        **({keys.CELL: name} if name else {}),
        **(tags or {}),
    }
    if config.training.not_comparable:
        own[keys.NOT_COMPARABLE] = "; ".join(config.training.not_comparable.values())
    with track(parts.store, experiment, f"{parts.filter.name}, seed {config.seed}", own, parent, run_id) as run:
        stopwatch, callbacks = _watching(on_step)
        check_parts([parts])
        ready = prepare(config, parts)
        name = name or cell_id(cell, parts)
        model = _load_model(parts, ready, config.seed)
        check_fit(config, parts, ready)
        find_checkpoint(config, model, name)  # a bad one is told of before any work
        log_run.record_inputs(run, cell, parts, ready, name)
        log_run.record_arithmetic(run, set_up_arithmetic(config, parts, ready, model))
        if console is not None:
            print_overview(console, config, parts, ready, model)
        before = measure(config, parts, ready, model, is_base=True)
        follower = _follower(config, parts, ready)
        callbacks = [*callbacks, follower]
        module = fit(config, parts, ready, model, name, run, progress=console is not None, callbacks=callbacks)
        after = measure(config, parts, ready, module.model)
        costs = {"tokens_seen": float(module.tokens_seen), "seconds": stopwatch.seconds}
        folder = cell_folder(config, name)
        if best := best_look(config, name):
            run.log_metrics(best)
        log_run.record_results(run, ready, module.model, folder, before, after, costs)
        run.log_table(follower.table(), keys.CURVES)
        log_run.describe_results(run, cell, parts, ready, before, after)
    drop_checkpoint(config, name)
    return after.scores


def _follower(config: TrainConfig, parts: Parts, ready: Ready) -> ProbeFollower:
    """Return what asks the probes during training."""
    from winnow.evaluation.probes.probe_callback import ProbeFollower

    return ProbeFollower(parts.probes, ready.tokenizer, config.training.forward)


def _load_model(parts: Parts, ready: Ready, seed: int) -> PreTrainedModel:
    try:
        return parts.model.load(ready.tokenizer, seed)
    except WinnowError as error:
        raise error.under("model") from error


def _watching(on_step: Callable[[int], None] | None) -> tuple[Stopwatch, list[Callback]]:
    from winnow.training.progress import StepReport, Stopwatch

    stopwatch = Stopwatch(time.monotonic())
    return stopwatch, [stopwatch, StepReport(on_step)] if on_step else [stopwatch]


def is_first_process() -> bool:
    """Tell whether this process keeps the record: of several that train together, the one of rank 0.

    torchrun tells the rank as `RANK`, SLURM as `SLURM_PROCID`, and Lightning's own launcher that within a machine.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))
