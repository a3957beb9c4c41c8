"""`winnow runs`: lists the studies of a store, or the training runs of one study with their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from winnow.config import RunsConfig, construct
from winnow.errors import WinnowError, did_you_mean
from winnow.reporting.table_rendering import build_console_table
from winnow.run.run_components import check_store
from winnow.tracking import Store, keys
from winnow.tracking.run_references import (
    RUN_ID_LENGTH,
    describe_run,
    find_newest_training_runs,
    list_training_runs,
)

if TYPE_CHECKING:
    from mlflow.entities import Run

MIN_PREFIX_LENGTH = 8
"""The minimum number of characters of a printed id prefix."""


def run_runs(config: RunsConfig, console: Console) -> None:
    """Print a table of all studies, or a table of the training runs of one study.

    Raises:
        WinnowError: If the store has no such study.
    """
    store = construct(config.tracking, "tracking", Store, config.allow_targets)
    check_store(store)
    client = store.client()
    if config.study is None:
        _print_studies(console, list_training_runs(client), store)
        return
    experiment = client.get_experiment_by_name(config.study)
    runs = list_training_runs(client, experiment.experiment_id) if experiment else []
    runs = [run for run in runs if run.data.tags.get(keys.STUDY) == config.study]
    if not runs:
        newest = find_newest_training_runs(client)
        studies = sorted({run.data.tags[keys.STUDY] for run in newest if keys.STUDY in run.data.tags})
        suggestion = did_you_mean(config.study, studies)
        raise WinnowError(
            f"the store has no training runs of a study {config.study!r}.{suggestion} Studies in the store: "
            f"{', '.join(studies) or 'none'}.",
            "study",
        )
    _print_runs(console, runs, shorten_run_ids([run.info.run_id for run in runs]))


def shorten_run_ids(run_ids: Sequence[str]) -> dict[str, str]:
    """Return the shortest unique prefix of each run id, with at least eight characters and equal lengths.

    >>> shorten_run_ids(["0123456789ab", "0123456789cd"])
    {'0123456789ab': '0123456789a', '0123456789cd': '0123456789c'}
    """
    length = next(
        length
        for length in range(MIN_PREFIX_LENGTH, RUN_ID_LENGTH + 1)
        if len({run_id[:length] for run_id in run_ids}) == len(run_ids) or length == RUN_ID_LENGTH
    )
    return {run_id: run_id[:length] for run_id in run_ids}


def _print_studies(console: Console, runs: Sequence[Run], store: Store) -> None:
    if not runs:
        console.print(f"There are no training runs in {escape(store.redacted_uri)}. Start one with: winnow train")
        return
    counts = Counter(run.data.tags.get(keys.STUDY, "") for run in runs)
    finished = Counter(run.data.tags.get(keys.STUDY, "") for run in runs if run.info.status == "FINISHED")
    table = build_console_table("study", "runs", "finished", "newest run")
    for study, count in counts.items():
        newest = next(run for run in runs if run.data.tags.get(keys.STUDY, "") == study)
        table.add_row(escape(study), str(count), str(finished[study]), _format_start_time(newest))
    console.print(table)
    console.print(f"List the runs of a study with: winnow runs {escape(next(iter(counts)))}", soft_wrap=True)


def _print_runs(console: Console, runs: Sequence[Run], short_ids: dict[str, str]) -> None:
    for run in sorted(runs, key=_sort_key):
        line = (
            f"{short_ids[run.info.run_id]}  {describe_run(run)}  {run.info.status.lower()}  {_format_start_time(run)}"
        )
        console.print(escape(line), soft_wrap=True)
    console.print("\nEvery command accepts the id or the name of a run.", soft_wrap=True)


def _sort_key(run: Run) -> tuple[str, int, int]:
    return run.data.tags.get(keys.ARM, ""), int(run.data.tags.get(keys.SEED, 0)), int(run.info.start_time)


def _format_start_time(run: Run) -> str:
    return datetime.fromtimestamp(run.info.start_time / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
