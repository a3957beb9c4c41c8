"""A batch of masked rows without padding."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from winnow.training.masking import IGNORE_INDEX, Masking
from winnow.training.tokenization import TokenRows


@dataclass(frozen=True, eq=False)
class MaskedBatch:
    """Masked rows without padding, sorted by length, so that rows of equal length are adjacent.

    Rows without masked tokens are dropped. Such rows affect neither the loss nor any gradient, because rows do not
    attend to each other. They are common among short sentences: at a masking rate of 15%, 32% (0.85 ** 7) of all
    7-token sentences have no masked tokens.

    Attributes:
        input_ids: The model's input tokens; int64, shape ``(tokens,)``.
        position_ids: The position of each token in its row; int64, shape ``(tokens,)``.
        masked_indices: Indices of the masked tokens in ``input_ids``; int64, shape ``(masked,)``. The
            indices are in the order of the masked tokens before the rows were sorted.
        targets: The original tokens at ``masked_indices``; int64, shape ``(masked,)``.
        masked_rows: The row of each masked token, as an index into the rows before sorting; shape ``(masked,)``.
        length_groups: The number of rows of each length, as pairs ``(rows, length)``.
        num_tokens: The number of tokens in all rows, including dropped rows.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    masked_indices: torch.Tensor
    targets: torch.Tensor
    masked_rows: npt.NDArray[np.int64]
    length_groups: tuple[tuple[int, int], ...]
    num_tokens: int

    @classmethod
    def from_flat_tokens(
        cls, input_ids: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], lengths: npt.NDArray[np.integer]
    ) -> MaskedBatch:
        """Build a batch from the concatenated tokens of its rows.

        Args:
            input_ids: The model's input tokens of all rows, shape ``(tokens,)``.
            labels: The original token at each masked position, and :data:`winnow.training.masking.IGNORE_INDEX`
                everywhere else; shape ``(tokens,)``.
            lengths: The number of tokens in each row, shape ``(rows,)``.
        """
        masked = np.flatnonzero(labels != IGNORE_INDEX)
        masked_rows = np.repeat(np.arange(len(lengths)), lengths)[masked]
        order = np.argsort(lengths, kind="stable")
        order = order[_find_rows_to_keep(masked_rows, lengths)[order]]
        position_ids, source_indices = _concatenate_ranges(lengths[order], starts=(np.cumsum(lengths) - lengths)[order])
        new_indices = np.zeros(len(input_ids), dtype=np.int64)
        new_indices[source_indices] = np.arange(len(source_indices))
        distinct_lengths, row_counts = np.unique(lengths[order], return_counts=True)
        return cls(
            input_ids=_to_int64_tensor(input_ids[source_indices]),
            position_ids=_to_int64_tensor(position_ids),
            masked_indices=_to_int64_tensor(new_indices[masked]),
            targets=_to_int64_tensor(labels[masked]),
            masked_rows=masked_rows,
            length_groups=tuple(zip(row_counts.tolist(), distinct_lengths.tolist(), strict=True)),
            num_tokens=len(input_ids),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MaskedBatch:
        """Return a copy of the batch with its tensors on a device; all other fields are unchanged."""
        return dataclasses.replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=non_blocking),
            position_ids=self.position_ids.to(device, non_blocking=non_blocking),
            masked_indices=self.masked_indices.to(device, non_blocking=non_blocking),
            targets=self.targets.to(device, non_blocking=non_blocking),
        )

    def to_padded(self, pad_id: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the rows as inputs for a Hugging Face model, padded to the longest row and sorted by length.

        Returns:
            ``input_ids`` and ``attention_mask``, int64 of shape ``(rows, longest)``; and the indices of the masked
            tokens in the flattened ``input_ids``, shape ``(masked,)``.
        """
        device = self.input_ids.device
        lengths = torch.tensor([length for rows, length in self.length_groups for _ in range(rows)], device=device)
        is_token = torch.arange(self.length_groups[-1][1], device=device) < lengths[:, None]
        input_ids = torch.full(is_token.shape, pad_id, device=device)
        input_ids[is_token] = self.input_ids
        padded_indices = is_token.flatten().nonzero().squeeze(1)
        return {"input_ids": input_ids, "attention_mask": is_token.long()}, padded_indices[self.masked_indices]


def build_masked_batch(
    rows: TokenRows, masking: Masking, seed: int, epoch: int | npt.NDArray[np.integer] = 0, progress: float = 0.0
) -> MaskedBatch:
    """Mask rows and build a batch from them. Each sequence of a packed block becomes a row of the batch."""
    return MaskedBatch.from_flat_tokens(*masking.apply(rows, seed, epoch, progress), rows.sequence_lengths)


def _find_rows_to_keep(masked_rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Return a boolean mask of the rows that have at least one masked token.

    If no row has a masked token, the shortest non-empty row is kept, so that every parameter still receives a gradient.
    """
    keep = np.zeros(len(lengths), dtype=bool)
    keep[masked_rows] = True
    if not keep.any() and lengths.any():
        keep[np.argmin(np.where(lengths > 0, lengths, lengths.max() + 1))] = True
    return keep


def _concatenate_ranges(
    lengths: npt.NDArray[np.integer], starts: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the concatenated ranges ``0, ..., length - 1``, and the same ranges shifted by the given starts."""
    ends = np.cumsum(lengths)
    offsets = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
    return offsets, offsets + np.repeat(starts, lengths)


def _to_int64_tensor(values: npt.NDArray[np.integer]) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64))
