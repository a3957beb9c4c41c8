"""A batch of masked rows, laid out without padding."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from winnow.training.masking import IGNORED, Masking
from winnow.training.tokens import TokenRows


@dataclass(frozen=True, eq=False)
class Batch:
    """Masked rows without padding, the shortest first, so that rows of equal length stand side by side.

    A row in which nothing is to be guessed takes no part: no row sees another, so neither the loss nor a gradient
    depends on it. Of short sentences these are many, 0.85 ** 7 or 32% of those with 7 words.

    Attributes:
        input_ids: What the model sees; int64, shape ``(tokens,)``.
        positions: Where each token stands in its row; int64, shape ``(tokens,)``.
        masked: Where in ``input_ids`` the tokens to be guessed are; int64, shape ``(masked,)``. They come in the order
            of the rows as they were given, and of the positions in them.
        targets: What stood there; int64, shape ``(masked,)``.
        owners: Which of the given rows each of them is of, shape ``(masked,)``.
        groups: How many rows there are of each length: pairs ``(rows, length)``.
        tokens: Tokens of all given rows, also of those that take no part.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    masked: torch.Tensor
    targets: torch.Tensor
    owners: npt.NDArray[np.int64]
    groups: tuple[tuple[int, int], ...]
    tokens: int

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
        at = np.flatnonzero(labels != IGNORED)
        owners = np.repeat(np.arange(len(lengths)), lengths)[at]
        order = np.argsort(lengths, kind="stable")
        order = order[_taking_part(owners, lengths)[order]]
        positions, source = _ranges(lengths[order], starts=(np.cumsum(lengths) - lengths)[order])
        place = np.zeros(len(input_ids), dtype=np.int64)
        place[source] = np.arange(len(source))
        values, counts = np.unique(lengths[order], return_counts=True)
        return cls(
            input_ids=_tensor(input_ids[source]),
            positions=_tensor(positions),
            masked=_tensor(place[at]),
            targets=_tensor(labels[at]),
            owners=owners,
            groups=tuple(zip(counts.tolist(), values.tolist(), strict=True)),
            tokens=len(input_ids),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on a device; the layout stays in Python, where it is read."""
        return dataclasses.replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=non_blocking),
            positions=self.positions.to(device, non_blocking=non_blocking),
            masked=self.masked.to(device, non_blocking=non_blocking),
            targets=self.targets.to(device, non_blocking=non_blocking),
        )

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


def masked_batch(
    rows: TokenRows, masking: Masking, seed: int, epoch: int | npt.NDArray[np.integer] = 0, progress: float = 0.0
) -> Batch:
    """Mask rows and lay them out; what attends to itself alone is a row of the batch, such as a document in a block."""
    return Batch.of(*masking.draw(rows, seed, epoch, progress), rows.sequence_lengths)


def _taking_part(owners: npt.NDArray[np.int64], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return which rows hold a token to be guessed; the shortest, where none does, so that every weight is reached."""
    part = np.zeros(len(lengths), dtype=bool)
    part[owners] = True
    if not part.any() and lengths.any():
        part[np.argmin(np.where(lengths > 0, lengths, lengths.max() + 1))] = True
    return part


def _ranges(
    lengths: npt.NDArray[np.integer], starts: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers from 0 to each length, one range after the other, and the same counted from each start."""
    ends = np.cumsum(lengths)
    numbers = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    return numbers, numbers + np.repeat(starts, lengths)


def _tensor(values: npt.NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
