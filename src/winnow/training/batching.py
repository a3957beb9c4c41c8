"""Batches: which rows each optimizer step sees on each rank, and the tensors they become."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from winnow.errors import WinnowError
from winnow.training.counter import key
from winnow.training.masking import IGNORED, Masking
from winnow.training.tokens import TokenRows


@dataclass(frozen=True, eq=False)
class Batch:
    """Masked rows without padding, the shortest first, so that rows of equal length stand side by side.

    Attributes:
        input_ids: What the model sees; int64, shape ``(tokens,)``.
        positions: Where each token stands in its row; int64, shape ``(tokens,)``.
        masked: Where in ``input_ids`` the tokens to be guessed are; int64, shape ``(masked,)``. They come in the order
            of the rows as they were given, and of the positions in them.
        targets: What stood there; int64, shape ``(masked,)``.
        owners: Which of the given rows each of them is of, shape ``(masked,)``.
        groups: How many rows there are of each length: pairs ``(rows, length)``.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    masked: torch.Tensor
    targets: torch.Tensor
    owners: npt.NDArray[np.int64]
    groups: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, input_ids: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]
    ) -> Batch:
        """Lay out flat tokens.

        Args:
            input_ids: What the model sees, row after row.
            labels: What stood there where it is to be guessed, else :data:`winnow.training.masking.IGNORED`.
            lengths: Tokens of each row.
        """
        order = np.argsort(lengths, kind="stable")
        positions, source = _ranges(lengths[order], starts=(np.cumsum(lengths) - lengths)[order])
        place = np.empty_like(source)
        place[source] = np.arange(len(source))
        at = np.flatnonzero(labels != IGNORED)
        values, counts = np.unique(lengths[lengths > 0], return_counts=True)
        return cls(
            input_ids=_tensor(input_ids[source]),
            positions=_tensor(positions),
            masked=_tensor(place[at]),
            targets=_tensor(labels[at]),
            owners=np.repeat(np.arange(len(lengths)), lengths)[at],
            groups=tuple(zip(counts.tolist(), values.tolist(), strict=True)),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on a device; the layout stays in Python, where it is read."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in tensors.items()}
        return dataclasses.replace(self, **moved)

    def padded(self, pad_id: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the rows as the library takes them, padded to the longest, the shortest first.

        Returns:
            ``input_ids`` and ``attention_mask``, int64 of shape ``(rows, longest)``; and where the tokens to be guessed
            are once these are flattened, shape ``(masked,)``.
        """
        device = self.input_ids.device
        lengths = torch.tensor([length for rows, length in self.groups for _ in range(rows)], device=device)
        inside = torch.arange(self.groups[-1][1], device=device) < lengths[:, None]
        input_ids = torch.full(inside.shape, pad_id, device=device)
        input_ids[inside] = self.input_ids
        slots = inside.flatten().nonzero().squeeze(1)
        return {"input_ids": input_ids, "attention_mask": inside.long()}, slots[self.masked]


def masked_batch(rows: TokenRows, masking: Masking, seed: int, epoch: int | npt.NDArray[np.integer] = 0) -> Batch:
    """Mask rows and lay them out."""
    return Batch.of(*masking.draw(rows, seed, epoch), rows.lengths)


def _ranges(
    lengths: npt.NDArray[np.integer], starts: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers from 0 to each length, one range after the other, and the same counted from each start."""
    ends = np.cumsum(lengths)
    numbers = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    return numbers, numbers + np.repeat(starts, lengths)


def _tensor(values: npt.NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))


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
    ) -> None:
        parts = share.world_size * share.accumulate
        if len(rows) == 0:
            raise WinnowError(
                "There is no row to train on. Use a filter that keeps rows, or a larger corpus.", "filter"
            )
        if batch_size < parts:
            raise WinnowError(
                f"A step of {batch_size} rows cannot be shared among {share.world_size} processes with "
                f"{share.accumulate} accumulated batches each. Give at least {parts}.",
                key="training.batch_size",
            )
        self.rows, self.masking, self.seed, self.batch_size = rows, masking, seed, batch_size
        self.steps, self.share, self.only_first = steps, share, only_first
        self._order = functools.lru_cache(maxsize=2)(self._draw_order)
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
        return masked_batch(self.rows.take(chosen), self.masking, self.seed, passes)

    def draw(self, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the row numbers of a batch, and the pass of each."""
        if self.only_first is not None:
            number %= self.only_first
        step, part = divmod(number, self.share.accumulate)
        stream = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        parts = np.array_split(stream, self.share.world_size * self.share.accumulate)
        passes, places = np.divmod(parts[part * self.share.world_size + self.share.rank], len(self.rows))
        chosen = np.empty_like(places)
        for number_of_pass in np.unique(passes):
            here = passes == number_of_pass
            chosen[here] = self._order(int(number_of_pass))[places[here]]
        return chosen, passes

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
