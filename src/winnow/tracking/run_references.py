"""Resolve references to runs: run ids, id prefixes, `STUDY/ARM/SEED`, and folders."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from winnow.errors import WinnowError, did_you_mean
from winnow.tracking.keys import ARM, ARM_LABEL, CELL_ID, KIND, SEED, STUDY
from winnow.tracking.run_queries import (
    CELL_RUN_FILTER,
    NEWEST_FIRST,
    RUNS_PER_PAGE,
    find_run,
    list_experiments,
    search_runs,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities.paged_list import PagedList

RUN_ID_LENGTH: Final = 32
_RUN_ID_PREFIX: Final = re.compile(rf"[0-9a-f]{{1,{RUN_ID_LENGTH}}}")
_CELL_NAME: Final = re.compile(r"(?P<study>[^/]+)/(?P<arm>[^/]+)/(?P<seed>\d+)")
_TRAINING_KINDS: Final = ("cell", "rerun")
_STATUS_RANKS: Final = {"FINISHED": 2, "RUNNING": 1}

ACCEPTED_REFERENCES: Final = "a run id, the first characters of a run id, STUDY/ARM/SEED, or the folder of a run"
MAX_LISTED_RUNS: Final = 12


def is_run_reference(text: str) -> bool:
    """Return whether a text is a run id, an id prefix or `STUDY/ARM/SEED`, and not the path of an existing file.

    Such a text is never a name on the Hugging Face Hub: Hub names have at most one slash and are not hexadecimal
    numbers.

    >>> is_run_reference("0a1b2c"), is_run_reference("demo/full/1"), is_run_reference("distilbert-base-uncased")
    (True, True, False)
    """
    is_reference = _RUN_ID_PREFIX.fullmatch(text) or _CELL_NAME.fullmatch(text)
    return is_reference is not None and not Path(text).expanduser().exists()


def resolve_run(client: MlflowClient, reference: str) -> Run:
    """Return the run that a reference refers to.

    Args:
        client: The client of the store.
        reference: A run id, a prefix of a run id, `STUDY/ARM/SEED`, or a folder that contains the files of a run.

    Raises:
        WinnowError: If there is no such run, or if several runs match. The message lists the candidates.
    """
    folder = Path(reference).expanduser()
    if folder.is_dir():
        return _find_run_of_folder(client, folder)
    if match := _CELL_NAME.fullmatch(reference):
        return _find_run_of_cell(client, match["study"], match["arm"], match["seed"])
    if (run := find_run(client, reference)) is not None:
        return run
    if _RUN_ID_PREFIX.fullmatch(reference) and len(reference) < RUN_ID_LENGTH:
        matches = search_runs(client, list_experiments(client), f"attributes.run_id LIKE '{reference}%'")
        if matches := [run for run in matches if run.data.tags.get(KIND) in _TRAINING_KINDS] or matches:
            return _require_one_run(matches, f"several run ids start with {reference!r}. Add more characters")
    raise _build_unknown_run_error(client, reference)


def describe_run(run: Run) -> str:
    """Return a run's study, arm and seed as `STUDY/ARM/SEED`; the name of the run if it has no seed."""
    tags = run.data.tags
    return f"{tags[STUDY]}/{tags[ARM]}/{tags[SEED]}" if {STUDY, ARM, SEED} <= set(tags) else str(run.info.run_name)


def list_training_runs(client: MlflowClient, experiment_id: str | None = None) -> list[Run]:
    """Return the training runs of an experiment, or of all experiments by default, newest first."""
    return search_runs(client, [experiment_id] if experiment_id else list_experiments(client), CELL_RUN_FILTER)


def find_newest_training_runs(client: MlflowClient) -> PagedList[Run]:
    """Return one page of the newest training runs in the store. A server takes minutes to return 100,000 runs."""
    return client.search_runs(
        list_experiments(client), CELL_RUN_FILTER, max_results=RUNS_PER_PAGE, order_by=list(NEWEST_FIRST)
    )


def _require_one_run(runs: Sequence[Run], problem: str) -> Run:
    if len(runs) == 1:
        return runs[0]
    raise WinnowError(f"{problem}:{_format_candidates(runs)}")


def _format_candidates(runs: Sequence[Run]) -> str:
    lines = [f"\n  {run.info.run_id}  {describe_run(run)}, {run.info.status}" for run in runs[:MAX_LISTED_RUNS]]
    omitted = len(runs) - len(lines)
    return "".join(lines) + (f"\n  and {omitted} more" if omitted else "")


def _select_current_attempts(runs: Sequence[Run]) -> list[Run]:
    """Return one run per cell: a finished run if there is one, otherwise a running run, otherwise the newest run."""
    cells: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (_STATUS_RANKS.get(run.info.status, 0), int(run.info.start_time))):
        cells[run.data.tags.get(CELL_ID, run.info.run_id)] = run
    return list(cells.values())


def _find_run_of_cell(client: MlflowClient, study: str, arm: str, seed: str) -> Run:
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        names = [experiment.name for experiment in client.search_experiments()]
        raise WinnowError(f"there is no study '{study}' in this store.{did_you_mean(study, names)} {_LIST_RUNS}")
    runs = list_training_runs(client, experiment.experiment_id)
    runs_of_arm = [run for run in runs if arm in (run.data.tags.get(ARM), run.data.tags.get(ARM_LABEL))]
    if not runs_of_arm:
        arms = sorted({run.data.tags[ARM] for run in runs if ARM in run.data.tags})
        suggestion = did_you_mean(arm, arms)
        raise WinnowError(f"the study {study} has no arm '{arm}'.{suggestion} Allowed: {', '.join(arms) or 'none'}.")
    matches = [run for run in runs_of_arm if run.data.tags.get(SEED) == str(int(seed))]
    if not matches:
        seeds = sorted({int(run.data.tags[SEED]) for run in runs_of_arm})
        raise WinnowError(
            f"the arm {arm} of the study {study} has no run with seed {seed}. Allowed: {', '.join(map(str, seeds))}."
        )
    problem = f"several runs of {study}/{arm}/{seed} have different settings. Use one of these run ids"
    attempts = _select_current_attempts(matches)
    finished = [run for run in attempts if run.info.status == "FINISHED"]
    return finished[0] if len(finished) == 1 else _require_one_run(attempts, problem)


def _find_run_of_folder(client: MlflowClient, folder: Path) -> Run:
    """Return the run whose id or cell id is a part of the folder's path."""
    parts = [part for part in reversed(folder.resolve().parts) if re.fullmatch(r"[0-9a-f]{16,32}(-rerun)?", part)]
    for part in parts:
        if len(part) == RUN_ID_LENGTH and (run := find_run(client, part)) is not None:
            return run
        if matches := search_runs(client, list_experiments(client), f"tags.`{CELL_ID}` = '{part}'"):
            matches = [run for run in matches if run.data.tags.get(STUDY) in folder.resolve().parts] or matches
            return _require_one_run(_select_current_attempts(matches), f"several runs use the folder {folder}")
    raise WinnowError(
        f"the folder {str(folder)!r} does not belong to a run in this store. Use the folder of a run, such as "
        "outputs/STUDY/cells/CELL, or a run id."
    )


_LIST_RUNS: Final = "List the runs with `winnow runs`."


def _build_unknown_run_error(client: MlflowClient, reference: str) -> WinnowError:
    newest = find_newest_training_runs(client)
    runs = {run.info.run_id: run for run in newest}
    scope = "in" if newest.token else f"among the {len(runs)} training runs in"
    similar = difflib.get_close_matches(reference, list(runs), n=3, cutoff=0.5)
    listing = f" Similar ids:{_format_candidates([runs[run_id] for run_id in similar])}" if similar else ""
    return WinnowError(
        f"there is no run {reference!r} {scope} this store."
        f"{did_you_mean(reference, runs)} Expected {ACCEPTED_REFERENCES}. {_LIST_RUNS}{listing}"
    )
