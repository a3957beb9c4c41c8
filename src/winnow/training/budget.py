"""Steps of so many tokens instead of so many rows, each of rows of like length."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from winnow.errors import WinnowError
from winnow.training.counter_rng import key
from winnow.training.tokens import TokenRows

Rows = npt.NDArray[np.int64]

STEPS_SORTED_TOGETHER = 50
"""Rows of about so many steps are sorted by length at a time: enough for like lengths, and few beside a pass."""


class TokenBudget:
    """Cuts every pass over the rows into steps of at most ``max_tokens``, separators included.

    Each pass holds every row once, as the shuffled order of that pass has it; within some
    :data:`STEPS_SORTED_TOGETHER` steps the rows are sorted by length, so that those of a step are alike, and the steps
    of the pass are shuffled. All of it is a function of seed, pass and row keys.

    Args:
        rows: The training rows.
        seed: Seeds the order of the steps.
        max_tokens: Tokens of a step at most, over all processes and accumulated batches.
        order: Returns the order of the rows in a pass.
        parts: Processes times accumulated batches; each must have a row of every step.

    Raises:
        WinnowError: A row, or one for each part, does not fit.
    """

    def __init__(
        self, rows: TokenRows, seed: int, max_tokens: int, order: Callable[[int], Rows], parts: int = 1
    ) -> None:
        self.lengths, self.seed, self.max_tokens, self.order, self.parts = rows.lengths, seed, max_tokens, order, parts
        longest = int(self.lengths.max())
        needed = longest if parts == 1 else 2 * parts * longest
        if max_tokens < needed or len(rows) < parts:
            raise WinnowError(
                f"Steps of {max_tokens} tokens are too short for {len(rows)} rows of up to {longest} tokens in {parts} "
                f"parts (processes times accumulated batches). Give at least {needed}, or cut rows earlier with "
                "training.max_length.",
                key="training.max_tokens",
            )
        self._cut = functools.lru_cache(maxsize=2)(self._cut_pass)
        self._ends: list[int] = []

    def steps_in_pass(self, number: int) -> int:
        """Return how many steps a pass has."""
        return len(self._cut(number))

    def draw(self, step: int) -> tuple[Rows, int]:
        """Return the rows of a step, the shortest first, and the pass that it is of."""
        while not self._ends or self._ends[-1] <= step:
            self._ends.append((self._ends[-1] if self._ends else 0) + self.steps_in_pass(len(self._ends)))
        number = int(np.searchsorted(self._ends, step, side="right"))
        return self._cut(number)[step - (self._ends[number - 1] if number else 0)], number

    def _cut_pass(self, number: int) -> list[Rows]:
        order = self._sorted_in_windows(self.order(number))
        ends = np.cumsum(self.lengths[order])
        borders = [0]
        while borders[-1] < len(order):
            before = ends[borders[-1] - 1] if borders[-1] else 0
            borders.append(int(np.searchsorted(ends, before + self.max_tokens, side="right")))
        if len(borders) > 2 and borders[-1] - borders[-2] < self.parts:
            borders[-2] = borders[-1] - self.parts  # the last step is short; it takes rows of the one before
        steps = [np.sort(order[start:end]) for start, end in itertools.pairwise(borders)]
        steps = [rows[np.argsort(self.lengths[rows], kind="stable")] for rows in steps]
        # The 2 keeps this order apart from that of the rows, which hashes the same things.
        return [steps[i] for i in np.argsort(key(self.seed, 2, number, np.arange(len(steps))), kind="stable")]

    def _sorted_in_windows(self, order: Rows) -> Rows:
        """Sort windows of rows by length, up and down in turn, so that the steps at their borders are alike too."""
        rows_a_step = max(1, self.max_tokens / max(1.0, self.lengths.mean()))
        size = max(1, round(STEPS_SORTED_TOGETHER * rows_a_step))
        windows = []
        for i, start in enumerate(range(0, len(order), size)):
            window = order[start : start + size]
            sorted_up = window[np.argsort(self.lengths[window], kind="stable")]
            windows.append(sorted_up[::-1] if i % 2 else sorted_up)
        return np.concatenate(windows)
