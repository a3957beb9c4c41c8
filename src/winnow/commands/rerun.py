"""`winnow rerun`: repeats a tracked run, reports changes in the environment, and compares every metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from winnow.config import (
    ComposedCell,
    RerunConfig,
    TrainConfig,
    construct,
    find_defaulted_keys,
    load_stored_config,
    read_user_permissions,
    restore_cell,
)
from winnow.errors import WinnowError
from winnow.metrics.metric_names import SECONDS, stage_metric_name
from winnow.reporting.table_rendering import build_console_table
from winnow.run.cell_lock import lock_cell
from winnow.run.pipeline import RunOptions, run_cell
from winnow.run.run_components import RunComponents, build_components, cell_folder, check_store, compute_cell_id
from winnow.tracking import Store, keys
from winnow.tracking.run_environment import describe_hardware, list_installed_packages, read_git_commit, read_git_diff
from winnow.tracking.run_queries import read_json_artifact, read_run_metrics, read_text_artifact, search_runs
from winnow.tracking.run_references import list_training_runs, resolve_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PACKAGES_ARTIFACT = "environment/packages.txt"
HARDWARE_ARTIFACT = "environment/hardware.json"
PATCH_ARTIFACT = "environment/uncommitted.patch"
TIMING_METRICS = (stage_metric_name("final", SECONDS), "train/tokens_per_second", "train/peak_share", "system/")
"""Names and prefixes of metrics of time and machine load, which differ in every run and are not compared."""


@dataclass(frozen=True)
class RerunResult:
    """The result of repeating a run.

    Attributes:
        run_id: The id of the original run.
        rerun_id: The id of the new run.
        metrics: The original and the new value of each metric, keyed by metric name; a value is `None` if the run did
            not log the metric.
        differences: Descriptions of the packages, code, hardware and data that have changed since the original run.
    """

    run_id: str
    rerun_id: str
    metrics: dict[str, tuple[float | None, float | None]]
    differences: list[str]

    @property
    def different_metrics(self) -> list[str]:
        """The names of the metrics whose two values are not identical."""
        return [name for name, (original, new) in self.metrics.items() if original != new]


def run_rerun(config: RerunConfig, console: Console, all_metrics: bool = False) -> RerunResult:
    """Repeat a run from its stored configuration, and print the metrics that differ.

    Args:
        config: The run and the store.
        console: The console to print to.
        all_metrics: Whether to print identical metrics as well.

    Raises:
        WinnowError: If the run does not exist, is not a finished training run, or has no stored configuration.
        WinnowErrors: If the stored configuration is not valid in this version of Winnow.
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    client = store.client()
    run = _find_finished_run(client, config.run_id)
    cell, filled_keys = _rebuild_cell(client, run, config)
    components = build_components(cell.config)
    differences = [*_compare_environment(client, run), *_compare_corpus(run, components)]
    title = f"{run.data.tags[keys.ARM]}, seed {run.data.tags[keys.SEED]}"
    console.print(f"[bold]Run {run.info.run_id}[/bold]: {escape(title)}")
    if filled_keys:
        console.print(f"[yellow]note[/yellow]  {escape(format_defaults_note(filled_keys))}", soft_wrap=True)
    for difference in differences:
        console.print(f"[yellow]differs[/yellow]  {escape(difference)}")
    if not differences and not filled_keys:
        console.print("Packages, code, machine and data are the same as in the original run.")
    # Use a separate folder, so that the original run's model and checkpoints are not overwritten.
    name = f"{compute_cell_id(cell, components)}-rerun"
    tags = {keys.KIND: "rerun", keys.RERUN_OF: run.info.run_id}
    with lock_cell(cell_folder(cell.config, name)):
        run_cell(cell, components, RunOptions(name, run.data.tags.get("mlflow.parentRunId"), tags=tags))
    new_run = search_runs(client, [run.info.experiment_id], f"tags.`{keys.RERUN_OF}` = '{run.info.run_id}'")[0]
    result = RerunResult(run.info.run_id, new_run.info.run_id, _pair_metrics(client, run, new_run), differences)
    print_result(result, console, all_metrics)
    return result


def _find_finished_run(client: MlflowClient, reference: str) -> Run:
    """Return the finished training run that a reference refers to."""
    try:
        run = resolve_run(client, reference)
    except WinnowError as error:
        raise error.with_prefix("run_id") from error
    run_id, kind = run.info.run_id, run.data.tags.get(keys.KIND)
    if kind != "cell":
        training_runs = ", ".join(run.info.run_id for run in list_training_runs(client, run.info.experiment_id))
        description = f"is of kind {kind!r}" if kind else "was not created by Winnow"
        raise WinnowError(
            f"expected a training run, but run {run_id} {description}. Choose a training run of the same experiment: "
            f"{training_runs or 'none'}.",
            "run_id",
        )
    if run.info.status != "FINISHED":
        cause = run.data.tags.get(keys.FAILURE_REASON)
        status = f"{run.info.status}, {cause}" if cause else run.info.status
        raise WinnowError(
            f"run {run_id} did not finish ({status}), so it has no final metrics to compare. To resume the run, repeat "
            "the command that started it.",
            "run_id",
        )
    return run


def format_defaults_note(filled_keys: Sequence[str], max_keys: int = 12) -> str:
    """Return a one-line note that lists the first `max_keys` keys missing from a stored configuration."""
    more = f" and {len(filled_keys) - max_keys} more" if len(filled_keys) > max_keys else ""
    return (
        "The stored configuration is incomplete (Winnow 0.1 stored no defaults); "
        f"the defaults of this version are used for {', '.join(filled_keys[:max_keys])}{more}."
    )


def _rebuild_cell(client: MlflowClient, run: Run, config: RerunConfig) -> tuple[ComposedCell[TrainConfig], list[str]]:
    """Return the run's stored configuration with the current store and folders, and the keys set to defaults."""
    text = read_text_artifact(client, run.info.run_id, keys.RESOLVED_CONFIG)
    if text is None:
        raise WinnowError(
            f"the artifact {keys.RESOLVED_CONFIG} of run {run.info.run_id} is missing, so its configuration cannot be "
            "restored. Choose another run; the MLflow parameters of this run still contain individual settings.",
            "run_id",
        )
    tree = load_stored_config(text)
    tree |= {"tracking": config.tracking, "output_dir": str(config.output_dir)}
    tree["study"] = {**tree.get("study", {}), "rerun": "all", "compare": False}
    tree = add_recorded_numerics(tree, client, run.info.run_id)
    overrides = (read_text_artifact(client, run.info.run_id, keys.OVERRIDES) or "").splitlines()
    # For security, permissions come from the current command: a store must not control which code is executed.
    cell = restore_cell(tree, overrides, TrainConfig, read_user_permissions(config.allow_targets))
    return cell, find_defaulted_keys(tree, cell.config_dict)


def add_recorded_numerics(tree: dict[str, Any], client: MlflowClient, run_id: str) -> dict[str, Any]:
    """Return a stored configuration with the run's threads and matmul backends, so that the run is repeated exactly."""
    recorded = read_json_artifact(client, run_id, keys.NUMERICS)
    # Earlier versions used the threads of the process, which are recorded with the hardware.
    threads = recorded.get("threads") or read_json_artifact(client, run_id, HARDWARE_ARTIFACT).get("threads")
    numerics = {**(tree.get("numerics") or {}), **({"threads": threads} if threads else {})}
    if "onednn" in recorded and recorded.get("linear", "auto") == "auto":
        numerics["onednn_matmuls"] = recorded["onednn"]
    return {**tree, "numerics": numerics}


def _compare_environment(client: MlflowClient, run: Run) -> list[str]:
    """Return a description of each change in the packages, code and hardware since the original run."""
    differences = []
    original_packages = set((read_text_artifact(client, run.info.run_id, PACKAGES_ARTIFACT) or "").split())
    current_packages = set(list_installed_packages().split())
    if original_packages and original_packages != current_packages:
        removed_packages, added_packages = (
            ", ".join(sorted(lines)[:6]) or "-"
            for lines in (original_packages - current_packages, current_packages - original_packages)
        )
        differences.append(
            f"packages: {len(original_packages ^ current_packages)} lines differ; original {removed_packages}; "
            f"now {added_packages}"
        )
    original, current = run.data.tags.get(keys.COMMIT, ""), read_git_commit()
    if original != current:
        differences.append(
            f"commit: original {original[:12] or 'not recorded'}, now {current[:12] or 'not a git repository'}"
        )
    if (read_text_artifact(client, run.info.run_id, PATCH_ARTIFACT) or "").strip() != read_git_diff().strip():
        differences.append("uncommitted changes: different from those in the original run")
    machine = read_json_artifact(client, run.info.run_id, HARDWARE_ARTIFACT)
    for name, value in describe_hardware().items():
        if name in machine and machine[name] != value:
            differences.append(f"{name}: original {machine[name]}, now {value}")
    return differences


def _compare_corpus(run: Run, components: RunComponents) -> list[str]:
    """Return a list with a description of the change in the corpus, or an empty list if the corpus is the same."""
    corpus = components.corpus.fingerprint
    original = run.data.tags.get(keys.CORPUS)
    return [] if corpus == original else [f"data: corpus fingerprint: original {original}, now {corpus}"]


def _pair_metrics(client: MlflowClient, run: Run, new_run: Run) -> dict[str, tuple[float | None, float | None]]:
    """Return the original and the new value of every metric that either run logged, except timing metrics."""
    original_metrics, new_metrics = (read_run_metrics(client, either) for either in (run, new_run))
    names = sorted(name for name in {*original_metrics, *new_metrics} if not name.startswith(TIMING_METRICS))
    return {name: (original_metrics.get(name), new_metrics.get(name)) for name in names}


def print_result(result: RerunResult, console: Console, all_metrics: bool = False) -> None:
    """Print the metrics that differ and a summary.

    Args:
        result: The result of the rerun.
        console: The console to print to.
        all_metrics: Whether to print identical metrics as well.
    """
    different_metrics = set(result.different_metrics)
    table = build_console_table("metric", "original", "rerun", "")
    for name, (original, new) in result.metrics.items():
        if name not in different_metrics and not all_metrics:
            continue
        status = "[red]missing[/red]" if name in different_metrics else "identical"
        if original != new and original is not None and new is not None:
            status = f"[red]differs by {new - original:+.3g}[/red]"
        table.add_row(escape(name), *("-" if value is None else f"{value:.10g}" for value in (original, new)), status)
    if table.row_count:
        console.print(table)
    total, different = len(result.metrics), len(different_metrics)
    summary = f"{different} of {total} metrics differ" if different else f"all {total} metrics are identical"
    console.print(f"[bold]{summary}[/bold]; the new run is {result.rerun_id}", soft_wrap=True)
