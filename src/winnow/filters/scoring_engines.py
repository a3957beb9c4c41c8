"""Run batch scoring in this process, in several local processes, or on a Ray cluster."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.errors import WinnowError
from winnow.filters.batch_scoring import BatchScorer, BatchScores

EngineName = Literal["local", "ray"]

BATCH_ROWS = 2_000
_BATCHES_PER_TASK = 4  # batches that one Ray task scores


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

    The rows are passed in a Parquet file whose row groups are the batches. Each task reads the row groups that it
    scores, because Ray's own reader returns a small file as one block, which a single task would score.
    """
    import ray
    import ray.data

    if not ray.is_initialized():
        ray.init(num_cpus=processes, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    batch_rows = BATCH_ROWS
    batch_count = -(-rows.num_rows // batch_rows)

    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ray-", dir=cache_dir) as folder:
        path = Path(folder).resolve() / "rows.parquet"
        pq.write_table(rows, path, row_group_size=batch_rows)

        def score(numbers: pa.Table) -> pa.Table:
            file = pq.ParquetFile(path)
            return pa.concat_tables(
                _pack_scores(scorer, file.read_row_group(number), number * batch_rows)
                for number in numbers["id"].to_pylist()
            )

        blocks = max(1, -(-batch_count // _BATCHES_PER_TASK))
        numbers = ray.data.range(batch_count, override_num_blocks=blocks)
        results = numbers.map_batches(score, batch_format="pyarrow", batch_size=_BATCHES_PER_TASK)
        for table in results.iter_batches(batch_format="pyarrow", batch_size=None):
            yield from _unpack_scores(scorer, table)


def _pack_scores(scorer: BatchScorer, batch: pa.Table, offset: int) -> pa.Table:
    """Score a batch and return the result as a table. Errors are returned in a column, because Ray wraps exceptions."""
    error = None
    try:
        result = scorer.score_batch(batch, offset)
    except WinnowError as raised:
        error = [raised.key or "", raised.message]
        no_scores = dict.fromkeys(scorer.scored_signals, pa.nulls(0, pa.float64()))
        result = BatchScores(offset, no_scores, dict.fromkeys(scorer.scored_signals, 0.0))
    columns = {"offset": pa.array([offset], pa.int64()), "error": pa.array([error], pa.list_(pa.string()))}
    for name in scorer.scored_signals:
        scores = result.scores[name]
        columns[f"scores.{name}"] = pa.ListArray.from_arrays(pa.array([0, len(scores)], pa.int32()), scores)
        columns[f"seconds.{name}"] = pa.array([result.seconds[name]], pa.float64())
    return pa.table(columns)


def _unpack_scores(scorer: BatchScorer, table: pa.Table) -> Iterator[BatchScores]:
    for row in range(table.num_rows):
        if error := table["error"][row].as_py():
            raise WinnowError(error[1], error[0] or None)
        scores = {name: table[f"scores.{name}"][row].values.cast(pa.float64()) for name in scorer.scored_signals}
        seconds = {name: table[f"seconds.{name}"][row].as_py() for name in scorer.scored_signals}
        yield BatchScores(table["offset"][row].as_py(), scores, seconds)
