"""Deterministic data loaders for training rows and held-out rows, sharded across processes."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from winnow.errors import WinnowError
from winnow.training.counter_rng import derive_key
from winnow.training.masked_batch import MaskedBatch, build_masked_batch
from winnow.training.masking import Masking
from winnow.training.token_budget import TokenBudgetSampler
from winnow.training.tokenization import TokenRows


@dataclass(frozen=True)
class Shard:
    """The part of each optimizer step that one process computes.

    Attributes:
        rank: Rank of the process.
        world_size: Number of processes.
        accumulate_batches: Number of batches that a process accumulates per step.
    """

    rank: int = 0
    world_size: int = 1
    accumulate_batches: int = 1

    @property
    def batches_per_step(self) -> int:
        """Number of batches in an optimizer step, across all processes."""
        return self.world_size * self.accumulate_batches


class TrainingBatches:
    """Training batches from an endless stream of shuffled epochs.

    The stream consists of the shuffled rows of epoch 0, followed by the shuffled rows of epoch 1, and so on. The row
    order in an epoch is a function of the seed, the epoch and the row keys. Step ``s`` takes rows ``s * batch_size`` to
    ``(s + 1) * batch_size`` of the stream, regardless of the number of processes. Every step therefore has the same
    number of rows; a step at the end of an epoch is filled with rows from the next epoch. Each batch is a function of
    its index, so a resumed run starts at a later index.

    Args:
        rows: The training rows.
        masking: The masking rule, which draws new masks in every epoch.
        seed: The seed for the row order and the masks.
        batch_size: Rows per optimizer step, across all processes and accumulated batches.
        steps: Number of optimizer steps.
        shard: The part of each step that this process computes.
        repeat_first: Number of initial batches to repeat indefinitely, to check whether the model can overfit these
            batches; ``None`` disables repetition.
        max_tokens: Maximum number of tokens per optimizer step; if it is set, ``batch_size`` is ignored. See
            :class:`winnow.training.token_budget.TokenBudgetSampler`. A step with a token limit never spans two epochs.

    Raises:
        WinnowError: If there are no rows, or if ``batch_size`` is smaller than the number of batches per step.
    """

    def __init__(
        self,
        rows: TokenRows,
        masking: Masking,
        seed: int,
        batch_size: int,
        steps: int,
        shard: Shard = Shard(),
        repeat_first: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if len(rows) == 0:
            raise WinnowError(
                "expected at least one training row, got none. Use a filter that keeps rows, or a larger corpus.",
                "filter",
            )
        if max_tokens is None and batch_size < shard.batches_per_step:
            raise WinnowError(
                f"{batch_size} rows per step cannot be split across {shard.world_size} processes with "
                f"{shard.accumulate_batches} accumulated batches each. Increase the batch size to at least "
                f"{shard.batches_per_step}.",
                key="training.batch_size",
            )
        self.rows, self.masking, self.seed, self.batch_size = rows, masking, seed, batch_size
        self.steps, self.shard, self.repeat_first = steps, shard, repeat_first
        self._row_order = functools.lru_cache(maxsize=2)(self._shuffle_rows)
        self.token_budget = (
            TokenBudgetSampler(rows, seed, max_tokens, self._row_order, shard.batches_per_step)
            if max_tokens is not None
            else None
        )
        self._next_index = 0

    def __len__(self) -> int:
        return self.steps * self.shard.accumulate_batches

    def __iter__(self) -> Iterator[MaskedBatch]:
        for _ in range(len(self) - self._next_index % len(self)):
            self._next_index += 1
            yield self[self._next_index - 1]

    def __getitem__(self, index: int) -> MaskedBatch:
        """Return the batch at an index; indices count accumulated batches, not steps."""
        row_indices, epochs = self.select_rows(index)
        progress = index // self.shard.accumulate_batches / max(1, self.steps)
        return build_masked_batch(self.rows.take(row_indices), self.masking, self.seed, epochs, progress)

    def select_rows(self, index: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the row indices of a batch and the epoch of each row, both of shape ``(rows,)``."""
        if self.repeat_first is not None:
            index %= self.repeat_first
        step, index_in_step = divmod(index, self.shard.accumulate_batches)
        batch_in_step = index_in_step * self.shard.world_size + self.shard.rank
        if self.token_budget is not None:
            step_rows, epoch = self.token_budget.select_rows(step)
            # The rows are sorted by length, so strided slices give every batch of the step similar lengths.
            rows = step_rows[batch_in_step :: self.shard.batches_per_step]
            return rows, np.full(len(rows), epoch)
        stream = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, indices = np.divmod(np.array_split(stream, self.shard.batches_per_step)[batch_in_step], len(self.rows))
        rows = np.empty_like(indices)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            rows[in_epoch] = self._row_order(int(epoch))[indices[in_epoch]]
        return rows, epochs

    def unsharded(self) -> TrainingBatches:
        """Return a loader that yields the same steps on a single process, with one batch per step."""
        loader = copy.copy(self)
        loader.shard, loader.repeat_first = Shard(), None
        return loader

    def count_steps_for_tokens(self, tokens: int) -> int:
        """Return the number of steps needed to process a given number of tokens."""
        loader, lengths = self.unsharded(), self.rows.lengths
        tokens_processed, step = 0, 0
        while tokens_processed < tokens:
            tokens_processed += int(lengths[loader.select_rows(step)[0]].sum())
            step += 1
        return step

    def count_steps_for_passes(self, passes: float) -> int:
        """Return the number of steps needed for a given number of passes over all rows."""
        if self.token_budget is None:
            return max(1, math.ceil(round(passes * len(self.rows) / self.batch_size, 9)))
        full_passes, fraction = divmod(passes, 1)
        steps = sum(self.token_budget.count_steps(epoch) for epoch in range(int(full_passes)))
        return max(1, steps + math.ceil(fraction * self.token_budget.count_steps(int(full_passes))))

    def _shuffle_rows(self, epoch: int) -> npt.NDArray[np.int64]:
        # The constant 1 makes these hashes differ from the masking hashes, which use the same seed, epoch and keys.
        return np.argsort(derive_key(self.seed, 1, epoch, self.rows.keys), kind="stable")

    def state_dict(self) -> dict[str, int]:
        """Return the position in the stream; Lightning stores it in every checkpoint."""
        return {"next": self._next_index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from the position stored in a checkpoint."""
        self._next_index = state["next"]


class HeldOutBatches:
    """Batches of held-out rows with fixed masks; each row is evaluated once, on exactly one process.

    Each process takes every ``world_size``-th row and sorts its rows by length, so that rows of equal length share a
    batch. All processes have the same number of batches, because a process with more batches than the others would
    wait forever at the next synchronization.

    Args:
        rows: The held-out rows.
        masking: The masking rule.
        seed: The seed for the masks; each row's mask depends only on the seed and the row.
        batch_size: Approximate number of rows per batch.
        shard: The part of the rows that this process evaluates.

    Raises:
        WinnowError: If there is at least one row, but fewer rows than processes.
    """

    def __init__(
        self,
        rows: TokenRows,
        masking: Masking,
        seed: int,
        batch_size: int,
        shard: Shard = Shard(),
    ) -> None:
        if 0 < len(rows) < shard.world_size:
            raise WinnowError(
                f"{len(rows)} held-out rows cannot be split across {shard.world_size} processes. Use fewer "
                "processes (trainer.devices), or assign a larger fraction of the rows to the held-out splits.",
                key="dataset.split",
            )
        self.rows, self.masking, self.seed = rows, masking, seed
        shard_rows = np.arange(shard.rank, len(rows), shard.world_size)
        shard_rows = shard_rows[np.argsort(rows.lengths[shard_rows], kind="stable")]
        num_batches = -(-(len(rows) // shard.world_size) // batch_size)
        self.row_batches = np.array_split(shard_rows, num_batches) if num_batches else []

    def __len__(self) -> int:
        return len(self.row_batches)

    def __iter__(self) -> Iterator[MaskedBatch]:
        for row_indices in self.row_batches:
            yield build_masked_batch(self.rows.take(row_indices), self.masking, self.seed)
