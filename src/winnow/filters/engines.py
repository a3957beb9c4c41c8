"""Who asks the questions: this process or several of this machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pyarrow as pa

from winnow.filters.asking import Answer, Questions

BATCH_ROWS = 2_000


def ask_here(questions: Questions, rows: pa.Table, processes: int = 1) -> Iterator[Answer]:
    """Ask about all rows, batch by batch, and yield the answers in the order of the rows.

    Args:
        questions: What to ask.
        rows: The rows, with the columns that the questions need. Where they are memory-mapped, only a batch of them is
            read at a time.
        processes: How many processes ask; 1 asks in this one.
    """
    batches = ((rows.slice(first, BATCH_ROWS), first) for first in range(0, rows.num_rows, BATCH_ROWS))
    if processes == 1:
        yield from (questions.ask(batch, first) for batch, first in batches)
        return
    waiting: deque[Future[Answer]] = deque()
    # Not forked: threads of Arrow or torch may hold a lock at this moment, and a copy of it would never be opened.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for batch, first in batches:
            waiting.append(pool.submit(questions.ask, batch.combine_chunks(), first))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
