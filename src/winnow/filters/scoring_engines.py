"""Run batch scoring in this process, in several local processes, or on a Ray cluster."""

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
from winnow.filters.batch_scoring import BatchScorer, BatchScores

EngineName = Literal["local", "ray"]

BATCH_ROWS = 2_000
_POSITION_COLUMN = "winnow.position"


def score_rows(
    scorer: BatchScorer, rows: pa.Table, cache_dir: Path, engine: EngineName = "local", processes: int = 1
) -> Iterator[BatchScores]:
    """Score all rows, batch by batch. Batches are independent, so every engine returns the same scores.

    Args:
        scorer: The scorer to apply to each batch.
        rows: The rows, with the scorer's input columns. Memory-mapped rows are read one batch at a time.
        cache_dir: The folder for the temporary file that Ray's workers read; it must be shared by all cluster nodes.
        engine: The engine to use.
        processes: The number of processes.
    """
    if engine == "ray":
        return _score_with_ray(scorer, rows, cache_dir, processes)
    batches = ((rows.slice(offset, BATCH_ROWS), offset) for offset in range(0, rows.num_rows, BATCH_ROWS))
    if processes == 1:
        return (scorer.score_batch(batch, offset) for batch, offset in batches)
    return _score_in_processes(scorer, batches, processes)


def _score_in_processes(
    scorer: BatchScorer, batches: Iterator[tuple[pa.Table, int]], processes: int
) -> Iterator[BatchScores]:
    pending: deque[Future[BatchScores]] = deque()
    # A forked process could deadlock on a lock held by an Arrow or torch thread during the fork.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for batch, offset in batches:
            pending.append(pool.submit(scorer.score_batch, batch.combine_chunks(), offset))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _score_with_ray(scorer: BatchScorer, rows: pa.Table, cache_dir: Path, processes: int) -> Iterator[BatchScores]:
    """Score with Ray Data, either on the cluster specified by ``RAY_ADDRESS`` or on a new local cluster.

    The rows are passed in a Parquet file, because ``ray.data.from_huggingface`` requires packages that Ray
    does not install.
    """
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    schema = rows.schema

    def score(batch: pa.Table) -> pa.Table:
        positions = batch[_POSITION_COLUMN].to_numpy()
        # Ray may change the types of a batch, for example to large strings.
        return _pack_scores(scorer, batch.select(schema.names).cast(schema), positions)

    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", dir=cache_dir) as folder:
        path = Path(folder).resolve() / "rows.parquet"
        numbered_rows = rows.append_column(_POSITION_COLUMN, pa.array(np.arange(rows.num_rows)))
        pq.write_table(numbered_rows, path, row_group_size=BATCH_ROWS)
        results = ray.data.read_parquet(str(path)).map_batches(score, batch_format="pyarrow", batch_size=BATCH_ROWS)
        for table in results.iter_batches(batch_format="pyarrow", batch_size=None):
            yield from _unpack_scores(scorer, table)


def _pack_scores(scorer: BatchScorer, batch: pa.Table, positions: np.ndarray[Any, Any]) -> pa.Table:
    """Score a batch and return the result as a table. Errors are returned in a column, because Ray wraps exceptions."""
    results: list[BatchScores] = []
    error = None
    # The rows of a Ray batch are not necessarily consecutive rows of the corpus.
    for run in np.split(np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1):
        try:
            results.append(scorer.score_batch(batch.slice(run[0], len(run)), int(positions[run[0]])))
        except WinnowError as raised:
            error = [raised.key or "", raised.message]
            no_scores = dict.fromkeys(scorer.scored_signals, pa.nulls(0, pa.float64()))
            results = [BatchScores(0, no_scores, dict.fromkeys(scorer.scored_signals, 0.0))]
            break
    columns = {
        "offset": pa.array([result.offset for result in results], pa.int64()),
        "error": pa.array([error] * len(results), pa.list_(pa.string())),
    }
    for name in scorer.scored_signals:
        scores = [result.scores[name] for result in results]
        ends = pa.array(np.cumsum([0, *map(len, scores)]), pa.int32())
        columns[f"scores.{name}"] = pa.ListArray.from_arrays(ends, pa.concat_arrays(scores))
        columns[f"seconds.{name}"] = pa.array([result.seconds[name] for result in results], pa.float64())
    return pa.table(columns)


def _unpack_scores(scorer: BatchScorer, table: pa.Table) -> Iterator[BatchScores]:
    for row in range(table.num_rows):
        if error := table["error"][row].as_py():
            raise WinnowError(error[1], error[0] or None)
        scores = {name: table[f"scores.{name}"][row].values.cast(pa.float64()) for name in scorer.scored_signals}
        seconds = {name: table[f"seconds.{name}"][row].as_py() for name in scorer.scored_signals}
        yield BatchScores(table["offset"][row].as_py(), scores, seconds)
