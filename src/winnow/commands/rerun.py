"""A tracked run made again: what differs is told beforehand, and each number is set beside the first one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console

from winnow.config import Cell, RerunConfig, TrainConfig, construct, defaults_of_now, read_cell
from winnow.errors import WinnowError, did_you_mean
from winnow.metrics.metric_names import SECONDS, stage_metric_name
from winnow.reporting.tables import build_console_table
from winnow.run.cell_lock import hold_cell
from winnow.run.components import Components, build_components, cell_folder, cell_id, check_store
from winnow.run.pipeline import RunOptions, run_cell
from winnow.tracking import Store, keys
from winnow.tracking.environment import current_commit, hardware, packages, uncommitted_changes
from winnow.tracking.query import CELLS, artifact_json, artifact_text, find_run, search

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OVERRIDES = "config/overrides.txt"
PACKAGES = "environment/packages.txt"
HARDWARE = "environment/hardware.json"
PATCH = "environment/uncommitted.patch"
OF_THE_CLOCK = (stage_metric_name("final", SECONDS), "train/tokens_per_second", "train/peak_share", "system/")
"""Metrics, or their beginnings, that tell of time and load; a second run never repeats them."""


@dataclass(frozen=True)
class Rerun:
    """A run made again: the metrics of both, by name, and what differed before it began."""

    run_id: str
    again: str
    metrics: dict[str, tuple[float | None, float | None]]
    differences: list[str]

    @property
    def unequal(self) -> list[str]:
        """The metrics that are not equal bit for bit."""
        return [name for name, (then, now) in self.metrics.items() if then != now]


def run_rerun(config: RerunConfig, console: Console) -> Rerun:
    """Make a run again from what the store holds of it, and print metric by metric whether it is equal.

    Raises:
        WinnowError: There is no such run, it is no finished training, or its configuration is gone (key ``run_id``).
        WinnowErrors: Its configuration no longer fits this version.
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    client = store.client()
    run = _find(client, config.run_id)
    cell, filled = _rebuilt(client, run, config)
    components = build_components(cell.config)
    differences = [*_environment(client, run), *_data(run, components)]
    console.print(f"[bold]Run {run.info.run_id}[/bold]: {run.data.tags[keys.ARM]}, seed {run.data.tags[keys.SEED]}")
    if filled:
        console.print(f"[yellow]note[/yellow]  {defaults_notice(filled)}", soft_wrap=True)
    for difference in differences:
        console.print(f"[yellow]differs[/yellow]  {difference}")
    if not differences and not filled:
        console.print("Packages, code, machine and data are those of the run.")
    # A name of its own keeps the model of the first run, and any checkpoint of it, apart from this one's.
    name = f"{cell_id(cell, components)}-rerun"
    tags = {keys.KIND: "rerun", keys.RERUN_OF: run.info.run_id}
    with hold_cell(cell_folder(cell.config, name)):
        run_cell(cell, components, RunOptions(name, run.data.tags.get("mlflow.parentRunId"), tags=tags))
    again = search(client, [run.info.experiment_id], f"tags.`{keys.RERUN_OF}` = '{run.info.run_id}'")[0]
    found = Rerun(run.info.run_id, again.info.run_id, _beside(run, again), differences)
    _print(found, console)
    return found


def _find(client: MlflowClient, run_id: str) -> Run:
    """Return the run of that id, or of the one id that begins so."""
    run = find_run(client, run_id)
    if run is None:
        known = _cells(client)
        begun = [one for one in known if one.startswith(run_id)]
        if len(begun) != 1:
            raise _unknown(run_id, known, begun)
        run = client.get_run(begun[0])
    kind = run.data.tags.get(keys.KIND)
    if kind != "cell":
        told = "Its trainings are: " + ", ".join(_cells(client, run.info.experiment_id)) + "."
        raise WinnowError(f"Run {run_id} is a {kind or 'run of another program'} and no training. {told}", "run_id")
    if run.info.status != "FINISHED":
        cause = run.data.tags.get(keys.CAUSE)
        told = (
            f"Run {run_id} did not finish ({run.info.status}{f', {cause}' if cause else ''}), so it has no numbers to"
        )
        raise WinnowError(f"{told} repeat. Run the study's command again, which takes it up.", "run_id")
    return run


def _unknown(run_id: str, known: Mapping[str, str], begun: list[str]) -> WinnowError:
    near = begun or difflib.get_close_matches(run_id, list(known), n=3, cutoff=0.5)
    listed = "".join(f"\n  {one}  {known[one]}" for one in near)
    if begun:
        return WinnowError(f"Several runs begin with {run_id!r}:{listed}", "run_id")
    told = f"There is no run {run_id!r} in the store, which holds {len(known)} trainings."
    return WinnowError(f"{told}{did_you_mean(run_id, known)}{' Near ones:' + listed if listed else ''}", "run_id")


def _cells(client: MlflowClient, experiment: str | None = None) -> dict[str, str]:
    """Return the trainings of the store by run id, each told by study, arm and seed."""
    experiments = [experiment] if experiment else [found.experiment_id for found in client.search_experiments()]
    told = ((run.info.run_id, run.data.tags.get) for run in search(client, experiments, CELLS))
    return {run_id: f"{tag(keys.STUDY)}: {tag(keys.ARM)}, seed {tag(keys.SEED)}" for run_id, tag in told}


def defaults_notice(keys_filled: Sequence[str], shown: int = 12) -> str:
    """Return one line on settings that a stored configuration does not hold."""
    more = f" and {len(keys_filled) - shown} more" if len(keys_filled) > shown else ""
    return (
        "The stored configuration does not hold every setting (Winnow 0.1 stored no defaults); "
        f"the defaults of this version are used for {', '.join(keys_filled[:shown])}{more}."
    )


def _rebuilt(client: MlflowClient, run: Run, config: RerunConfig) -> tuple[Cell[TrainConfig], list[str]]:
    """Return the run's configuration, with the current store and folders, and the keys it did not hold."""
    text = artifact_text(client, run.info.run_id, keys.CONFIG)
    if text is None:
        raise WinnowError(
            f"The artifact {keys.CONFIG} of run {run.info.run_id} is gone, so its configuration cannot be rebuilt; its "
            "parameters in MLflow still tell the single values.",
            "run_id",
        )
    tree: dict[str, Any] = yaml.safe_load(text)
    # Whose code may run is for the user of now to say, and not for the store.
    here = {"tracking": config.tracking, "output_dir": str(config.output_dir), "allow_targets": config.allow_targets}
    tree |= here
    tree["study"] = {**tree.get("study", {}), "rerun": "all", "compare": False}
    overrides = (artifact_text(client, run.info.run_id, OVERRIDES) or "").splitlines()
    cell = read_cell(tree, overrides, TrainConfig)
    return cell, defaults_of_now(tree, cell.tree)


def _environment(client: MlflowClient, run: Run) -> list[str]:
    """Tell in which packages, code and machine this run will differ from the one before."""
    found = []
    then = set((artifact_text(client, run.info.run_id, PACKAGES) or "").split())
    now = set(packages().split())
    if then and then != now:
        changed = ", ".join(sorted(then - now)[:6]) or "none gone"
        found.append(
            f"packages: {len(then ^ now)} lines; then {changed}; now {', '.join(sorted(now - then)[:6]) or '-'}"
        )
    before, here = run.data.tags.get(keys.COMMIT, ""), current_commit()
    if before != here:
        found.append(f"commit: then {before[:12] or 'not recorded'}, now {here[:12] or 'no git here'}")
    if (artifact_text(client, run.info.run_id, PATCH) or "").strip() != uncommitted_changes().strip():
        found.append("uncommitted changes: the working tree's difference to its commit is not the run's")
    machine = artifact_json(client, run.info.run_id, HARDWARE)
    for name, value in hardware().items():
        if name in machine and machine[name] != value:
            found.append(f"{name}: then {machine[name]}, now {value}")
    return found


def _data(run: Run, components: Components) -> list[str]:
    """Tell whether the corpus is the one that the run was made from."""
    corpus = components.corpus.fingerprint
    then = run.data.tags.get(keys.CORPUS)
    return [] if corpus == then else [f"data: the corpus was {then}, and is {corpus} now"]


def _beside(run: Run, again: Run) -> dict[str, tuple[float | None, float | None]]:
    """Return every metric of either run with both values."""
    then, now = run.data.metrics, again.data.metrics
    names = sorted(name for name in {*then, *now} if not name.startswith(OF_THE_CLOCK))
    return {name: (then.get(name), now.get(name)) for name in names}


def _print(found: Rerun, console: Console) -> None:
    grid = build_console_table("metric", "then", "now", "")
    for name, (then, now) in found.metrics.items():
        told = "equal" if then == now else "[red]missing[/red]"
        if then != now and then is not None and now is not None:
            told = f"[red]differs by {now - then:+.3g}[/red]"
        grid.add_row(name, *("-" if value is None else f"{value:.10g}" for value in (then, now)), told)
    console.print(grid)
    many, wrong = len(found.metrics), len(found.unequal)
    verdict = f"all {many} metrics are equal, bit for bit" if not wrong else f"{wrong} of {many} metrics differ"
    console.print(f"[bold]{verdict}[/bold]; the run made now is {found.again}")
