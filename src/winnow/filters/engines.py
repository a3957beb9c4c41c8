"""Who asks the questions: this process, several of this machine, or a Ray cluster."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import WinnowError
from winnow.filters.batch_scoring import Answer, Questions

EngineName = Literal["local", "ray"]

BATCH_ROWS = 2_000
_PLACE = "winnow.place"  # of a row in the corpus


def ask_rows(
    questions: Questions, rows: pa.Table, cache_dir: Path, engine: EngineName = "local", processes: int = 1
) -> Iterator[Answer]:
    """Ask about all rows, batch by batch. Each batch is answered for itself, so who asks changes no answer.

    Args:
        questions: What to ask.
        rows: The rows, with the columns that the questions need. Where they are memory-mapped, only a batch of them is
            read at a time.
        cache_dir: Where Ray's workers find the rows; a cluster must share it.
        engine: Who asks.
        processes: How many processes ask.
    """
    if engine == "ray":
        return _ask_with_ray(questions, rows, cache_dir, processes)
    batches = ((rows.slice(first, BATCH_ROWS), first) for first in range(0, rows.num_rows, BATCH_ROWS))
    if processes == 1:
        return (questions.ask(batch, first) for batch, first in batches)
    return _ask_in_processes(questions, batches, processes)


def _ask_in_processes(
    questions: Questions, batches: Iterator[tuple[pa.Table, int]], processes: int
) -> Iterator[Answer]:
    waiting: deque[Future[Answer]] = deque()
    # Not forked: threads of Arrow or torch may hold a lock at this moment, and a copy of it would never be opened.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for batch, first in batches:
            waiting.append(pool.submit(questions.ask, batch.combine_chunks(), first))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _ask_with_ray(questions: Questions, rows: pa.Table, cache_dir: Path, processes: int) -> Iterator[Answer]:
    """Ask by Ray Data: in the cluster that is there (``RAY_ADDRESS`` names one), else in one started here.

    The rows go through a Parquet file, since ``ray.data.from_huggingface`` needs packages that Ray does not bring.
    """
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    schema = rows.schema

    def ask(batch: pa.Table) -> pa.Table:
        places = batch[_PLACE].to_numpy()
        # Ray may give a batch other types than it was given, such as large strings.
        return _packed(questions, batch.select(schema.names).cast(schema), places)

    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", dir=cache_dir) as folder:
        path = Path(folder).resolve() / "rows.parquet"
        placed = rows.append_column(_PLACE, pa.array(np.arange(rows.num_rows)))
        pq.write_table(placed, path, row_group_size=BATCH_ROWS)
        found = ray.data.read_parquet(str(path)).map_batches(ask, batch_format="pyarrow", batch_size=BATCH_ROWS)
        for table in found.iter_batches(batch_format="pyarrow", batch_size=None):
            yield from _unpacked(questions, table)


def _packed(questions: Questions, batch: pa.Table, places: np.ndarray[Any, Any]) -> pa.Table:
    """Return the answers about a batch as a table, and a fault as one too, since Ray wraps what is raised."""
    answers: list[Answer] = []
    fault = None
    # A batch of Ray's may hold rows that do not follow one another.
    for run in np.split(np.arange(len(places)), np.flatnonzero(np.diff(places) != 1) + 1):
        try:
            answers.append(questions.ask(batch.slice(run[0], len(run)), int(places[run[0]])))
        except WinnowError as error:
            fault = [error.key or "", error.message]
            nothing = dict.fromkeys(questions.asked, pa.nulls(0, pa.float64()))
            answers = [Answer(0, nothing, dict.fromkeys(questions.asked, 0.0))]
            break
    columns = {
        "first": pa.array([answer.first for answer in answers], pa.int64()),
        "fault": pa.array([fault] * len(answers), pa.list_(pa.string())),
    }
    for name in questions.asked:
        scores = [answer.scores[name] for answer in answers]
        ends = pa.array(np.cumsum([0, *map(len, scores)]), pa.int32())
        columns[f"scores.{name}"] = pa.ListArray.from_arrays(ends, pa.concat_arrays(scores))
        columns[f"seconds.{name}"] = pa.array([answer.seconds[name] for answer in answers], pa.float64())
    return pa.table(columns)


def _unpacked(questions: Questions, table: pa.Table) -> Iterator[Answer]:
    for row in range(table.num_rows):
        if fault := table["fault"][row].as_py():
            raise WinnowError(fault[1], fault[0] or None)
        scores = {name: table[f"scores.{name}"][row].values.cast(pa.float64()) for name in questions.asked}
        seconds = {name: table[f"seconds.{name}"][row].as_py() for name in questions.asked}
        yield Answer(table["first"][row].as_py(), scores, seconds)
