"""One run, from its configuration to its tracked scores; read it from top to bottom.

inputs -> baseline -> fit -> evaluate -> log
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console

from winnow.config import Cell, TrainConfig
from winnow.errors import WinnowError
from winnow.metrics.metric_names import ALL, SECONDS, held_out_metric_name, stage_metric_name
from winnow.run.cell_lock import hold_cell
from winnow.run.checkpoint_files import LAST, drop_checkpoints
from winnow.run.components import Components, build_components, cell_folder, cell_id, check_store
from winnow.run.evaluate import evaluate, evaluate_baseline
from winnow.run.fit import check_fit, fit
from winnow.run.inputs import load_inputs
from winnow.run.log_run import log_inputs, log_results
from winnow.run.overview import print_overview
from winnow.tracking import Attempt, TrackedRun, attempts, close_stale_runs, keys, sync, track

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

    from winnow.training.progress import RunTimer


@dataclass(frozen=True)
class RunOptions:
    """How a run of a cell is tracked and shown; nothing here changes its scores.

    Attributes:
        cell_id: The cell's id, if it is known already; it names the cell's folder.
        parent: The study's run, if the cell belongs to one.
        resumed_run: The interrupted run to resume; a new run starts if `None`.
        tags: Tags of the run in addition to, or instead of, a cell's own.
        console: Where an overview and a progress bar are shown; nothing is shown if `None`.
        on_step: Called now and then with the number of optimizer steps so far.
    """

    cell_id: str | None = None
    parent: str | None = None
    resumed_run: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    console: Console | None = None
    on_step: Callable[[int], None] | None = None


def run_cell(cell: Cell[TrainConfig], components: Components, options: RunOptions) -> dict[str, float]:
    """Train and evaluate one cell, and track it as a run.

    Of several processes that train together, only the first evaluates and tracks.

    Args:
        cell: The configuration.
        components: What :func:`build_components` constructed from it.
        options: How the run is tracked and shown.

    Returns:
        The final scores by metric name; empty in all processes but the first.
    """
    if not is_first_process():
        fit(load_inputs(cell, components, options.cell_id))
        return {}
    with _tracked(cell, components, options) as run:
        timer, callbacks = _callbacks(options)
        inputs = load_inputs(cell, components, options.cell_id)
        check_fit(inputs)
        log_inputs(run, inputs)
        if options.console is not None:
            print_overview(options.console, inputs)
        baseline = evaluate_baseline(inputs)
        fitted = fit(inputs, run, callbacks, progress=options.console is not None)
        results = evaluate(inputs, fitted)
        log_results(run, inputs, fitted, baseline, results)
        run.log_metrics({stage_metric_name("final", SECONDS): timer.seconds})
    drop_checkpoints(inputs.folder)
    return results.scores


def _tracked(
    cell: Cell[TrainConfig], components: Components, options: RunOptions
) -> AbstractContextManager[TrackedRun]:
    """Start a run of the cell, or resume an interrupted one."""
    config, arm = cell.config, components.filter.name
    declared = [config.study.primary_metric, *config.study.secondary_metrics]
    metrics = [components.metrics.metric(name) for name in declared]
    experiment = components.store.experiment(config.study.name, metrics)
    tags = {
        keys.KIND: "cell",
        keys.STUDY: config.study.name,
        keys.ARM: arm,
        keys.SEED: str(config.seed),
        keys.MAX_STEPS: config.training.budget,
        **({keys.CELL: options.cell_id} if options.cell_id else {}),
        **options.tags,
    }
    if config.training.not_comparable:
        tags[keys.NOT_COMPARABLE] = "; ".join(config.training.not_comparable.values())
    title = f"{arm}, seed {config.seed}"
    return track(components.store, experiment, title, tags, options.parent, options.resumed_run)


def _callbacks(options: RunOptions) -> tuple[RunTimer, list[Callback]]:
    """Return the timer of the run, and the callbacks that accompany its training."""
    from winnow.training.progress import RunTimer, StepReporter

    timer = RunTimer(time.monotonic())
    return timer, [timer, StepReporter(options.on_step)] if options.on_step else [timer]


def is_first_process() -> bool:
    """Return whether this process tracks the run: of several that train together, the one of rank 0.

    The rank is in `RANK` under torchrun, in `SLURM_PROCID` under SLURM, and in `LOCAL_RANK` and `NODE_RANK` under
    Lightning's own launcher.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def run_single(cell: Cell[TrainConfig], console: Console) -> dict[str, float]:
    """Run one cell outside any study, resuming it if it was interrupted, and return its final scores."""
    components = build_components(cell.config)
    check_store(components.store)
    with _held(cell, components):
        attempt = _interrupted_attempt(cell, components) if is_first_process() else None
        if attempt is not None:
            console.print(f"An earlier run of this cell broke off ({attempt.cause}); it is taken up again.")
        options = RunOptions(resumed_run=attempt.run_id if attempt else None, console=console)
        scores = run_cell(cell, components, options)
    primary = cell.config.study.primary_metric
    if primary in scores:
        loss = scores[held_out_metric_name("test", ALL, "loss")]
        console.print(f"\n{primary} {scores[primary]:+.3f}, test loss {loss:.3f}")
        console.print("See it beside other runs with: winnow ui")
    return scores


@contextmanager
def _held(cell: Cell[TrainConfig], components: Components) -> Iterator[None]:
    """Hold the cell's folder; a cell without an id has an error that its run raises again and tracks."""
    try:
        folder = cell_folder(cell.config, cell_id(cell, components)) if is_first_process() else None
    except WinnowError:
        folder = None
    with hold_cell(folder) if folder is not None else nullcontext():
        yield


def _interrupted_attempt(cell: Cell[TrainConfig], components: Components) -> Attempt | None:
    """Return the run of this cell that can resume from a checkpoint; a checkpoint without its run is removed."""
    sync(components.store)  # an interrupted run may have ended without the store
    try:
        experiment = components.store.experiment(cell.config.study.name)
        close_stale_runs(components.store, experiment)
        name = cell_id(cell, components)
        attempt = attempts(components.store, experiment).get(name)
    except WinnowError:  # the run itself raises it again and tracks it; or there is no store to search
        return None
    if attempt is not None and can_be_resumed(cell.config, name, attempt):
        return attempt
    drop_checkpoints(cell_folder(cell.config, name))
    return None


def can_be_resumed(config: TrainConfig, name: str, attempt: Attempt) -> bool:
    """Return whether a cell's interrupted run has a checkpoint, and may be resumed from it."""
    is_interrupted = not attempt.has_finished and not attempt.is_alive
    return is_interrupted and config.study.rerun == "none" and (cell_folder(config, name) / LAST).exists()
