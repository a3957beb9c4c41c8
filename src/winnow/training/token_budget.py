"""Sample optimizer steps with a maximum number of tokens instead of a fixed number of rows."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from winnow.errors import WinnowError
from winnow.training.counter_rng import derive_key
from winnow.training.tokenization import TokenRows

RowIndices = npt.NDArray[np.int64]

STEPS_PER_WINDOW = 50
"""The approximate number of steps in a window. Rows are sorted by length within each window. A window is large enough
to group rows of similar length, but small compared to an epoch."""


class TokenBudgetSampler:
    """Splits each epoch into steps of at most ``max_tokens`` tokens, including special tokens.

    An epoch contains every row once. Its rows are shuffled, then sorted by length within windows of about
    :data:`STEPS_PER_WINDOW` steps, so that the rows of a step have similar lengths. Finally, the steps are shuffled.
    The result depends only on the seed, the epoch and the row keys.

    Args:
        rows: The training rows.
        seed: The seed for the order of the steps.
        max_tokens: Maximum number of tokens per step, across all processes and accumulated batches.
        row_order: A function that returns the shuffled row indices of an epoch.
        batches_per_step: Number of processes times accumulated batches per process; each batch needs at least one row.

    Raises:
        WinnowError: If a step cannot contain the longest row, or cannot contain at least one row per batch.
    """

    def __init__(
        self,
        rows: TokenRows,
        seed: int,
        max_tokens: int,
        row_order: Callable[[int], RowIndices],
        batches_per_step: int = 1,
    ) -> None:
        self.lengths, self.seed, self.max_tokens = rows.lengths, seed, max_tokens
        self.row_order, self.batches_per_step = row_order, batches_per_step
        longest = int(self.lengths.max())
        min_tokens = longest if batches_per_step == 1 else 2 * batches_per_step * longest
        if max_tokens < min_tokens or len(rows) < batches_per_step:
            raise WinnowError(
                f"{len(rows)} rows of up to {longest} tokens cannot be split into steps of at most {max_tokens} tokens "
                f"with {batches_per_step} batches each (processes times accumulated batches). Increase the limit to at "
                f"least {min_tokens}, truncate rows with training.max_length, or use fewer batches per step.",
                key="training.max_tokens",
            )
        self._epoch_steps = functools.lru_cache(maxsize=2)(self._split_epoch)
        self._epoch_ends: list[int] = []

    def count_steps(self, epoch: int) -> int:
        """Return the number of steps in an epoch."""
        return len(self._epoch_steps(epoch))

    def select_rows(self, step: int) -> tuple[RowIndices, int]:
        """Return the row indices of a step, sorted by row length, and the epoch that contains the step."""
        while not self._epoch_ends or self._epoch_ends[-1] <= step:
            end = self._epoch_ends[-1] if self._epoch_ends else 0
            self._epoch_ends.append(end + self.count_steps(len(self._epoch_ends)))
        epoch = int(np.searchsorted(self._epoch_ends, step, side="right"))
        return self._epoch_steps(epoch)[step - (self._epoch_ends[epoch - 1] if epoch else 0)], epoch

    def _split_epoch(self, epoch: int) -> list[RowIndices]:
        order = self._sort_windows(self.row_order(epoch))
        ends = np.cumsum(self.lengths[order])
        borders = [0]
        while borders[-1] < len(order):
            before = ends[borders[-1] - 1] if borders[-1] else 0
            borders.append(int(np.searchsorted(ends, before + self.max_tokens, side="right")))
        if len(borders) > 2 and borders[-1] - borders[-2] < self.batches_per_step:
            # Move rows from the second-to-last step to the last step, which has too few rows.
            borders[-2] = borders[-1] - self.batches_per_step
        steps = [np.sort(order[start:end]) for start, end in itertools.pairwise(borders)]
        steps = [rows[np.argsort(self.lengths[rows], kind="stable")] for rows in steps]
        # The constant 2 makes these hashes differ from the row-order hashes, which use the same seed and epoch.
        keys = derive_key(self.seed, 2, epoch, np.arange(len(steps)))
        return [steps[i] for i in np.argsort(keys, kind="stable")]

    def _sort_windows(self, order: RowIndices) -> RowIndices:
        """Sort windows of rows by length, alternately ascending and descending.

        Because the direction alternates, rows on both sides of a window boundary have similar lengths.
        """
        rows_per_step = max(1, self.max_tokens / max(1.0, self.lengths.mean()))
        size = max(1, round(STEPS_PER_WINDOW * rows_per_step))
        windows = []
        for i, start in enumerate(range(0, len(order), size)):
            window = order[start : start + size]
            ascending = window[np.argsort(self.lengths[window], kind="stable")]
            windows.append(ascending[::-1] if i % 2 else ascending)
        return np.concatenate(windows)
