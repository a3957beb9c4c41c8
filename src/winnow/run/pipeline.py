"""Runs one cell, from its configuration to its tracked scores.

Stages: inputs -> baseline -> fit -> evaluate -> n-gram baselines -> log
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from winnow.config import ComposedCell, TrainConfig
from winnow.config.factors import format_levels
from winnow.errors import RunPruned, WinnowError
from winnow.garbage_collection import collect_garbage_normally
from winnow.metrics.metric_names import SECONDS, stage_metric_name
from winnow.run.cell_lock import lock_cell
from winnow.run.checkpoint_files import LAST_CHECKPOINT, remove_checkpoints, save_numerics
from winnow.run.console_summaries import print_fills, print_overview, print_run_result
from winnow.run.evaluate import evaluate, evaluate_baseline
from winnow.run.fit import check_fit_inputs, fit
from winnow.run.held_out_slices import check_label_slices
from winnow.run.log_run import log_inputs, log_results
from winnow.run.ngram_evaluation import evaluate_ngrams
from winnow.run.pruning import Pruning
from winnow.run.run_components import RunComponents, build_components, cell_folder, check_store, compute_cell_id
from winnow.run.run_inputs import load_inputs
from winnow.tracking import Attempt, TrackedRun, close_stale_runs, keys, load_attempts, sync, track
from winnow.tracking.metric_table import select_logged_scores

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

    from winnow.training.progress import RunTimer


@dataclass(frozen=True)
class RunOptions:
    """Options for tracking, displaying and stopping a run; they do not affect the scores of a complete run.

    Attributes:
        cell_id: The cell's id, if it has already been computed. It is also the name of the cell's folder.
        parent_run_id: The id of the study's run, if the cell belongs to a study.
        resumed_run_id: The id of the interrupted run to resume; `None` starts a new run.
        tags: Additional tags of the run. They override default tags with the same name.
        console: The console that displays an overview and a progress bar; `None` disables the display.
        on_step: A function that is called periodically with the number of completed optimizer steps.
        pruning: The rule of a search that stops the run early; `None` trains until the budget is exhausted.
    """

    cell_id: str | None = None
    parent_run_id: str | None = None
    resumed_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    console: Console | None = None
    on_step: Callable[[int], None] | None = None
    pruning: Pruning | None = None


def run_cell(cell: ComposedCell[TrainConfig], components: RunComponents, options: RunOptions) -> dict[str, float]:
    """Train and evaluate one cell, and track it as a run.

    In distributed training, only the process with rank 0 evaluates the model and tracks the run.

    Args:
        cell: The cell's composed configuration.
        components: The objects that :func:`build_components` built from the configuration.
        options: Options for tracking and display.

    Returns:
        The final scores by metric name. The dict is empty unless the process has rank 0.

    Raises:
        RunPruned: If `options.pruning` stopped the run. The checkpoint is kept.
    """
    collect_garbage_normally()
    if not is_rank_zero():
        fit(load_inputs(cell, components, options.cell_id))
        return {}
    with _track_cell(cell, components, options) as run:
        declared_metrics = _list_declared_metrics(cell.config)
        run.log_only(select_logged_scores(declared_metrics))
        timer, callbacks = _build_timing_callbacks(options)
        inputs = load_inputs(cell, components, options.cell_id)
        check_label_slices(declared_metrics, inputs.held_out)
        check_fit_inputs(inputs)
        save_numerics(inputs.folder, inputs.numerics)
        log_inputs(run, inputs)
        if options.console is not None:
            print_overview(options.console, inputs)
        baseline = evaluate_baseline(inputs)
        try:
            fit_result = fit(inputs, run, callbacks, options.console is not None, options.pruning)
        except RunPruned as stop:
            run.set_tags({keys.PRUNED: str(stop.step)})
            raise
        results = evaluate(inputs, fit_result)
        ngrams = evaluate_ngrams(inputs, results)
        log_results(run, inputs, fit_result, baseline, results, ngrams)
        run.log_metrics({stage_metric_name("final", SECONDS): timer.seconds})
    remove_checkpoints(inputs.folder)
    if options.console is not None:
        print_fills(options.console, baseline.probes, results.probes)
        name = f"{cell.config.study.name}/{components.filter.name}/{cell.config.seed}"
        print_run_result(options.console, name, run.run_id, cell.config.study.primary_metric, results)
    return results.scores


def _track_cell(
    cell: ComposedCell[TrainConfig], components: RunComponents, options: RunOptions
) -> AbstractContextManager[TrackedRun]:
    """Start a run of the cell, or resume an interrupted one."""
    config, selection = cell.config, components.filter
    declared_metrics = [config.study.primary_metric, *config.study.secondary_metrics]
    metrics = [components.metrics.metric(name) for name in declared_metrics]
    experiment = components.store.experiment(config.study.name, metrics, list(config.factors))
    tags = {
        keys.KIND: "cell",
        keys.STUDY: config.study.name,
        keys.ARM: selection.name,
        keys.ARM_LABEL: selection.display_name,
        **{f"{keys.FACTOR_PREFIX}{key}": level for key, level in config.factors.items()},
        keys.SEED: str(config.seed),
        keys.MAX_STEPS: config.training.budget,
        **({keys.CELL_ID: options.cell_id} if options.cell_id else {}),
        **options.tags,
    }
    reasons = [*config.training.not_comparable.values()]
    if config.evaluation.validation_only:
        reasons.append("it is evaluated on the validation split only")
    if reasons:
        tags[keys.NOT_COMPARABLE] = "; ".join(reasons)
    title = ", ".join(filter(None, (selection.display_name, format_levels(config.factors), f"seed {config.seed}")))
    return track(components.store, experiment, title, tags, options.parent_run_id, options.resumed_run_id)


def _list_declared_metrics(config: TrainConfig) -> list[str]:
    study = config.study
    names = [study.primary_metric, *study.secondary_metrics, study.guard_metric]
    return [*names, study.specificity_metric] if study.specificity_metric else names


def _build_timing_callbacks(options: RunOptions) -> tuple[RunTimer, list[Callback]]:
    """Return a timer for the run, and the training callbacks that measure time and report steps."""
    from winnow.training.progress import RunTimer, StepReporter

    timer = RunTimer(time.monotonic())
    return timer, [timer, StepReporter(options.on_step)] if options.on_step else [timer]


def is_rank_zero() -> bool:
    """Return whether this process has the global rank 0 and therefore tracks the run.

    The rank is read from environment variables: `RANK` under torchrun, `SLURM_PROCID` under Slurm, and `LOCAL_RANK` and
    `NODE_RANK` under Lightning's launcher.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return all(int(os.environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def run_single_cell(cell: ComposedCell[TrainConfig], console: Console) -> dict[str, float]:
    """Run a single cell outside a study, or resume its interrupted run, and return the final scores."""
    components = build_components(cell.config)
    check_store(components.store)
    with _lock_cell_folder(cell, components):
        attempt = _find_resumable_attempt(cell, components) if is_rank_zero() else None
        if attempt is not None:
            console.print(f"Resuming an interrupted run of this cell ({escape(attempt.failure_reason)}).")
        options = RunOptions(resumed_run_id=attempt.run_id if attempt else None, console=console)
        return run_cell(cell, components, options)


@contextmanager
def _lock_cell_folder(cell: ComposedCell[TrainConfig], components: RunComponents) -> Iterator[None]:
    """Lock the cell's folder.

    If the cell's id cannot be computed, nothing is locked. The run then raises and tracks the same error.
    """
    try:
        folder = cell_folder(cell.config, compute_cell_id(cell, components)) if is_rank_zero() else None
    except WinnowError:
        folder = None
    with lock_cell(folder) if folder is not None else nullcontext():
        yield


def _find_resumable_attempt(cell: ComposedCell[TrainConfig], components: RunComponents) -> Attempt | None:
    """Return the cell's interrupted run if it can be resumed; otherwise, remove its checkpoints and return `None`."""
    sync(components.store)  # upload the data that an interrupted run could not upload
    try:
        experiment = components.store.experiment(cell.config.study.name)
        close_stale_runs(components.store, experiment)
        cell_id = compute_cell_id(cell, components)
        attempt = load_attempts(components.store, experiment).get(cell_id)
    except WinnowError:  # the store does not exist yet, or the run will raise the same error
        return None
    if attempt is not None and can_resume(cell.config, cell_id, attempt):
        return attempt
    remove_checkpoints(cell_folder(cell.config, cell_id))
    return None


def can_resume(config: TrainConfig, cell_id: str, attempt: Attempt) -> bool:
    """Return whether an attempt was interrupted, has a checkpoint, and may be resumed according to `study.rerun`."""
    is_interrupted = not attempt.has_finished and not attempt.is_alive
    return is_interrupted and config.study.rerun == "none" and (cell_folder(config, cell_id) / LAST_CHECKPOINT).exists()
