"""Held-out rows under fixed masks: one line of sums for each row, and averages over slices of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.answers import evaluating, logits_at_masks
from winnow.evaluation.metrics import perplexity

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from winnow.training import Masking, TokenRows
    from winnow.training.forward import Forward


def score_rows(
    model: PreTrainedModel,
    rows: TokenRows,
    masking: Masking,
    seed: int = 0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool = False,
    forward: Forward = "auto",
) -> pa.Table:
    """Score held-out rows, each under masks that are a function of seed, row and tokenizer alone.

    Rows of like length are scored together. Only masked tokens meet the vocabulary, so no tensor of all
    tokens times the vocabulary is made.

    Args:
        model: A masked language model; its mode and device are put back afterwards.
        rows: The held-out rows.
        masking: Draws the masks.
        seed: Seeds the masks; one value for all that is to be compared.
        batch_size: Rows scored at a time.
        device: Where to score.
        progress: Show a bar.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.

    Returns:
        In the order of ``rows``: ``row_id``, ``loss_sum`` (float64, nats, from float32 logits), ``masked``
        (int64) and ``top1`` and ``top5`` (int64): how many masked tokens were among the model's first one and
        five guesses.
    """
    from rich.progress import track
    from torch.nn import functional

    from winnow.training import HeldOutBatches

    loss_sum = np.zeros(len(rows))
    masked, top1, top5 = (np.zeros(len(rows), dtype=np.int64) for _ in range(3))
    batches = HeldOutBatches(rows, masking, seed, batch_size)
    with evaluating(model, device):
        shown = track(batches, "Scoring held-out rows", len(batches), disable=not progress, transient=True)
        for chosen, batch in zip(batches.draws, shown, strict=True):
            logits, targets = logits_at_masks(model, batch.to(device), forward)
            losses = functional.cross_entropy(logits, targets, reduction="none").cpu().numpy()
            better = (logits > logits.gather(1, targets[:, None])).sum(1).cpu().numpy()
            owner = chosen[batch.owners]
            np.add.at(loss_sum, owner, losses.astype(np.float64))
            for counts, hits in ((masked, better >= 0), (top1, better < 1), (top5, better < 5)):
                np.add.at(counts, owner, hits)
    return pa.table(
        {
            "row_id": [f"{key:016x}" for key in rows.keys.tolist()],
            "loss_sum": loss_sum,
            "masked": masked,
            "top1": top1,
            "top5": top5,
        }
    )


def slice_metrics(
    rows: pa.Table, members: Mapping[str, npt.NDArray[np.bool_]] | None = None
) -> dict[str, dict[str, float]]:
    """Average row scores over all rows and over named slices of them.

    Args:
        rows: What :func:`score_rows` returned.
        members: For each slice one flag a row.

    Returns:
        For ``all`` and each slice ``rows`` and ``masked`` and, where a token was masked, ``loss`` (mean over
        tokens, in nats), ``perplexity``, ``top1`` and ``top5`` (shares of the masked tokens). An empty slice
        has no averages.

    >>> table = pa.table({"loss_sum": [6.0, 0.0], "masked": [3, 0], "top1": [1, 0], "top5": [3, 0]})
    >>> slice_metrics(table, {"none": np.array([False, False])})["none"]
    {'rows': 0.0, 'masked': 0.0}
    """
    columns = {name: rows[name].to_numpy() for name in ("loss_sum", "masked", "top1", "top5")}
    return {
        name: _averages({column: values[inside] for column, values in columns.items()})
        for name, inside in {"all": np.ones(len(rows), dtype=bool), **(members or {})}.items()
    }


def _averages(columns: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    masked = int(columns["masked"].sum())
    found = {"rows": float(len(columns["masked"])), "masked": float(masked)}
    if masked:
        loss = float(columns["loss_sum"].sum()) / masked
        found |= {"loss": loss, "perplexity": perplexity(loss)}
        found |= {name: float(columns[name].sum()) / masked for name in ("top1", "top5")}
    return found
