"""Which rows each optimizer step sees on each rank, and each held-out row once."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow.errors import WinnowError
from winnow.training.batch import Batch, masked_batch
from winnow.training.budget import TokenBudget
from winnow.training.counter_rng import key
from winnow.training.masking import Masking
from winnow.training.tokens import TokenRows


@dataclass(frozen=True)
class Share:
    """The part of every optimizer step's rows that one process sees at once.

    Attributes:
        rank: Number of this process.
        world_size: Number of processes.
        accumulate: Parts of a step that a process sees one after the other.
    """

    rank: int = 0
    world_size: int = 1
    accumulate: int = 1


class TrainingBatches:
    """Batches of training rows that follow one endless stream of shuffled passes.

    The stream is the rows in the order of pass 0, then of pass 1, and so on; the order of a pass is a
    function of seed, pass and row keys. Step ``s`` sees rows ``s * batch_size`` to ``(s + 1) * batch_size``
    of the stream on any number of processes, so every step has the same number of rows, and a pass that ends
    within a step runs on into the next. Each batch is a pure function of its number: to resume is to start at
    another number.

    Args:
        rows: The training rows.
        masking: Draws new masks for every pass.
        seed: Seeds the order and the masks.
        batch_size: Rows of an optimizer step, over all processes and accumulated batches.
        steps: Optimizer steps.
        share: The part that this process sees.
        only_first: Repeat the first so many batches for ever, to see whether they can be learnt by heart.
        max_tokens: Let a step see as many rows as fit into so many tokens, whatever ``batch_size``; see
            :class:`winnow.training.budget.TokenBudget`. A pass then ends with a step.

    Raises:
        WinnowError: No rows, or too few in a step to give each process one.
    """

    def __init__(
        self,
        rows: TokenRows,
        masking: Masking,
        seed: int,
        batch_size: int,
        steps: int,
        share: Share = Share(),
        only_first: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        parts = share.world_size * share.accumulate
        if len(rows) == 0:
            raise WinnowError(
                "There is no row to train on. Use a filter that keeps rows, or a larger corpus.", "filter"
            )
        if max_tokens is None and batch_size < parts:
            raise WinnowError(
                f"A step of {batch_size} rows cannot be shared among {share.world_size} processes with "
                f"{share.accumulate} accumulated batches each. Give at least {parts}.",
                key="training.batch_size",
            )
        self.rows, self.masking, self.seed, self.batch_size = rows, masking, seed, batch_size
        self.steps, self.share, self.only_first = steps, share, only_first
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)
        self.budget = TokenBudget(rows, seed, max_tokens, self._order, parts) if max_tokens is not None else None
        self._next = 0

    def __len__(self) -> int:
        return self.steps * self.share.accumulate

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(len(self) - self._next % len(self)):
            self._next += 1
            yield self[self._next - 1]

    def __getitem__(self, number: int) -> Batch:
        """Return the batch of the given number, counted over the steps' accumulated parts."""
        chosen, passes = self.draw(number)
        progress = number // self.share.accumulate / max(1, self.steps)
        return masked_batch(self.rows.take(chosen), self.masking, self.seed, passes, progress)

    def draw(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the row numbers of a batch, and the pass of each."""
        if self.only_first is not None:
            number %= self.only_first
        step, part = divmod(number, self.share.accumulate)
        part = part * self.share.world_size + self.share.rank
        if self.budget is not None:
            rows, number_of_pass = self.budget.draw(step)
            dealt = rows[part :: self.share.world_size * self.share.accumulate]  # so that all have like lengths
            return dealt, np.full(len(dealt), number_of_pass)
        stream = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        parts = np.array_split(stream, self.share.world_size * self.share.accumulate)
        passes, places = np.divmod(parts[part], len(self.rows))
        chosen = np.empty_like(places)
        for number_of_pass in np.unique(passes):
            here = passes == number_of_pass
            chosen[here] = self._order(int(number_of_pass))[places[here]]
        return chosen, passes

    def whole(self) -> TrainingBatches:
        """Return the same steps as one process would see them, each in one batch."""
        whole = copy.copy(self)
        whole.share, whole.only_first = Share(), None
        return whole

    def steps_to(self, tokens: int) -> int:
        """Return how many steps it takes to see so many tokens; at least one."""
        whole, lengths = self.whole(), self.rows.lengths
        seen, step = 0, 0
        while seen < tokens:
            seen += int(lengths[whole.draw(step)[0]].sum())
            step += 1
        return step

    def _draw_order(self, number_of_pass: int) -> npt.NDArray[np.int64]:
        # The 1 keeps the order apart from the masks, which hash the same things.
        return np.argsort(key(self.seed, 1, number_of_pass, self.rows.keys), kind="stable")

    def state_dict(self) -> dict[str, int]:
        """Return where the stream stands; Lightning stores it in every checkpoint."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where a checkpoint stood."""
        self._next = state["next"]


class HeldOutBatches:
    """Each held-out row once, with fixed masks, on exactly one of the processes.

    A process takes every ``world_size``-th row, the shortest first, so that rows of equal length meet. All processes
    have the same number of batches, since those that synchronise would otherwise wait for ever.

    Args:
        rows: The held-out rows.
        masking: Draws the masks.
        seed: Seeds the masks; together with the row it decides them for good.
        batch_size: Rows in a batch, give or take one.
        share: The part that this process sees.

    Raises:
        WinnowError: Fewer rows than processes.
    """

    def __init__(
        self,
        rows: TokenRows,
        masking: Masking,
        seed: int,
        batch_size: int,
        share: Share = Share(),
    ) -> None:
        if 0 < len(rows) < share.world_size:
            raise WinnowError(
                f"{len(rows)} held-out rows cannot be shared among {share.world_size} processes. Use fewer "
                "processes (trainer.devices), or a larger share of rows for that split.",
                key="dataset.split",
            )
        self.rows, self.masking, self.seed = rows, masking, seed
        own = np.arange(share.rank, len(rows), share.world_size)
        own = own[np.argsort(rows.lengths[own], kind="stable")]
        batches = -(-(len(rows) // share.world_size) // batch_size)
        self.draws = np.array_split(own, batches) if batches else []

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Batch]:
        for chosen in self.draws:
            yield masked_batch(self.rows.take(chosen), self.masking, self.seed)
