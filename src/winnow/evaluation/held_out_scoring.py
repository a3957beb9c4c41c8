"""Score held-out rows with fixed masks, and average the scores within slices of these rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.mask_predictions import MAX_LOGITS_PER_BATCH, evaluation_mode, logits_at_masks
from winnow.metrics.metric_names import ALL_ROWS_SLICE

if TYPE_CHECKING:
    import torch
    from torchmetrics import Metric
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows
    from winnow.training.forward.masked_logits import ForwardMode

NO_SYNC_OPTIONS = {"sync_on_compute": False}
"""Keyword arguments that disable the synchronization of torchmetrics metrics across processes.

Only one process scores the held-out rows. After distributed training, synchronization would wait for processes that do
not compute the metric.
"""


def score_rows(
    model: PreTrainedModel,
    rows: TokenRows,
    masking: Masking,
    seed: int = 0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    progress: bool = False,
    forward: ForwardMode = "auto",
) -> pa.Table:
    """Score held-out rows with fixed masks.

    The masks depend only on the seed, the row and the tokenizer. Rows of similar length are scored together. Logits
    are computed at masked tokens only, so models with a standard output layer need no tensor of shape
    ``(tokens, vocabulary)``.

    Args:
        model: A masked language model. Its mode and device are restored afterward.
        rows: The held-out rows.
        masking: The masking strategy.
        seed: The seed that determines the masks. Use the same seed for all models that you compare.
        batch_size: The maximum number of rows per batch. Batches are smaller if the logits would need too much memory.
        device: The device to run on.
        progress: Whether to show a progress bar.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.

    Returns:
        A table in the order of ``rows`` with the columns ``row_id``, ``loss_sum`` (float64, nats, from float32
        logits), ``masked`` (int64, the number of masked tokens), ``top1`` and ``top5`` (int64, the number of masked
        tokens whose correct token is the top prediction or among the top five), ``mrr`` (float64, the sum of the
        reciprocal ranks), ``ranks`` (a list of int32 with the rank of each masked token, from 1) and ``confidences`` (a
        list of float32 with the probability of the top prediction at each masked token).
    """
    from rich.progress import track
    from torch.nn import functional

    from winnow.training import HeldOutBatches

    row_indices: list[npt.NDArray[np.int64]] = []
    token_scores: list[tuple[npt.NDArray[Any], ...]] = []
    batches = HeldOutBatches(rows, masking, seed, _compute_rows_per_batch(rows, masking, batch_size))
    with evaluation_mode(model, device):
        batches_with_progress = track(
            batches, "Scoring held-out rows", len(batches), disable=not progress, transient=True
        )
        for batch_rows, batch in zip(batches.row_batches, batches_with_progress, strict=True):
            logits, targets = logits_at_masks(model, batch.to(device), forward)
            losses = functional.cross_entropy(logits, targets, reduction="none")
            num_better = (logits > logits.gather(1, targets[:, None])).sum(1)
            confidences = (logits.amax(1) - logits.logsumexp(1)).exp() if len(logits) else losses
            row_indices.append(batch_rows[batch.masked_rows])
            token_scores.append(tuple(values.cpu().numpy() for values in (losses, num_better, confidences)))
    return _build_table(rows, row_indices, token_scores)


def _compute_rows_per_batch(rows: TokenRows, masking: Masking, batch_size: int) -> int:
    """Return the largest batch size, at most ``batch_size``, for which the logits of the longest rows fit the limit."""
    max_length = int(rows.lengths.max()) if len(rows) else 1
    return max(
        1, min(batch_size, int(MAX_LOGITS_PER_BATCH / (rows.vocabulary.size * max(1.0, masking.rate * max_length))))
    )


def _build_table(
    rows: TokenRows,
    row_indices: Sequence[npt.NDArray[np.int64]],
    token_scores: Sequence[tuple[npt.NDArray[Any], ...]],
) -> pa.Table:
    """Build the table of row scores by sorting the token scores by row and summing them per row."""
    empty = np.zeros(0)
    columns = [np.concatenate(values) for values in zip(*token_scores, strict=True)] if token_scores else [empty] * 3
    losses, num_better, confidences = columns
    row_index = np.concatenate(row_indices) if row_indices else np.zeros(0, dtype=np.int64)
    order = np.argsort(row_index, kind="stable")
    row_index, losses = row_index[order], losses[order].astype(np.float64)
    confidences = confidences[order].astype(np.float32)
    ranks = num_better[order].astype(np.int32) + 1
    masked = np.bincount(row_index, minlength=len(rows))
    offsets = pa.array(np.concatenate([[0], np.cumsum(masked)]), pa.int32())

    def sum_per_row(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(row_index, weights=values, minlength=len(rows)).astype(np.float64)

    return pa.table(
        {
            "row_id": [f"{key:016x}" for key in rows.keys.tolist()],
            "loss_sum": sum_per_row(losses),
            "masked": masked,
            "top1": sum_per_row(ranks <= 1).astype(np.int64),
            "top5": sum_per_row(ranks <= 5).astype(np.int64),
            "mrr": sum_per_row(1 / ranks),
            "ranks": pa.ListArray.from_arrays(offsets, pa.array(ranks)),
            "confidences": pa.ListArray.from_arrays(offsets, pa.array(confidences)),
        }
    )


def add_pseudo_log_likelihoods(
    rows: pa.Table,
    texts: Sequence[str],
    limit: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
    max_length: int | None = None,
) -> pa.Table:
    """Add pseudo-log-likelihoods for a fixed subset of the rows: the first ``limit`` rows by row id.

    Args:
        rows: The table that :func:`score_rows` returned.
        texts: The text of each row.
        limit: The number of rows to score. Scoring a row of n tokens requires n masked copies of the row.
        model: A masked language model.
        tokenizer: The model's tokenizer.
        device: The device to run on.
        forward: The forward implementation; see :func:`winnow.training.masked_logits`.
        max_length: The length in tokens to which texts are truncated; the model's maximum length if ``None``.

    Returns:
        The table with the additional columns ``pseudo_log_likelihood`` (float64, nats) and ``pseudo_tokens`` (int64).
        Both columns are null for rows outside the subset.
    """
    from winnow.evaluation.pseudo_likelihood import pseudo_log_likelihoods

    subset = np.sort(np.argsort(np.array(rows["row_id"].to_pylist(), dtype=str), kind="stable")[:limit])
    subset_sums, subset_counts = pseudo_log_likelihoods(
        [texts[row] for row in subset], model, tokenizer, device, forward, max_length=max_length
    )
    is_outside_subset = np.ones(len(rows), dtype=bool)
    is_outside_subset[subset] = False
    sums, counts = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    sums[subset], counts[subset] = subset_sums, subset_counts
    return rows.append_column("pseudo_log_likelihood", pa.array(sums, mask=is_outside_subset)).append_column(
        "pseudo_tokens", pa.array(counts, mask=is_outside_subset)
    )


def compute_slice_metrics(
    rows: pa.Table, members: Mapping[str, npt.NDArray[np.bool_]] | None = None
) -> dict[str, dict[str, float]]:
    """Compute metrics from row scores, across all rows and for each named slice.

    Args:
        rows: The table that :func:`score_rows` or :func:`add_pseudo_log_likelihoods` returned.
        members: A boolean row mask for each slice, by slice name.

    Returns:
        For ``all`` (all rows) and each slice, a dictionary of metrics by name. Every slice has the counts ``rows`` and
        ``masked``. Slices with masked tokens also have the metrics of :mod:`winnow.evaluation.torch_metrics`: ``loss``
        (mean across tokens, in nats), ``perplexity``, ``top1``, ``top5``, ``mrr`` and ``ece``. ``all`` also has
        ``pseudo_perplexity`` if the table contains pseudo-log-likelihoods.
    """
    slices = {ALL_ROWS_SLICE: np.ones(len(rows), dtype=bool), **(members or {})}
    token_rows = np.repeat(np.arange(len(rows)), rows["masked"].to_numpy())
    ranks, confidences = (_flatten_list_column(rows[name]) for name in ("ranks", "confidences"))
    metrics = {}
    for name, in_slice in slices.items():
        token_in_slice = in_slice[token_rows]
        counts = {"rows": float(in_slice.sum()), "masked": float(token_in_slice.sum())}
        slice_rows = rows.filter(pa.array(in_slice))
        averages = (
            _average_tokens(slice_rows, ranks[token_in_slice], confidences[token_in_slice])
            if token_in_slice.any()
            else {}
        )
        metrics[name] = counts | averages
    if "pseudo_tokens" in rows.column_names and (scored_rows := rows.filter(rows["pseudo_tokens"].is_valid())).num_rows:
        metrics[ALL_ROWS_SLICE] |= _compute_pseudo_perplexity(scored_rows)
    return metrics


def _average_tokens(rows: pa.Table, ranks: npt.NDArray[Any], confidences: npt.NDArray[Any]) -> dict[str, float]:
    import torch

    from winnow.evaluation import torch_metrics

    token_ranks, token_confidences = torch.from_numpy(ranks), torch.from_numpy(confidences)
    loss_and_count = torch.tensor(rows["loss_sum"].to_numpy().sum()), torch.tensor(len(ranks))
    updates: dict[str, tuple[Metric, tuple[torch.Tensor, ...]]] = {
        "loss": (torch_metrics.MaskedLoss(**NO_SYNC_OPTIONS), loss_and_count),
        "perplexity": (torch_metrics.Perplexity(**NO_SYNC_OPTIONS), loss_and_count),
        "top1": (torch_metrics.TopK(1, **NO_SYNC_OPTIONS), (token_ranks,)),
        "top5": (torch_metrics.TopK(5, **NO_SYNC_OPTIONS), (token_ranks,)),
        "mrr": (torch_metrics.MeanReciprocalRank(**NO_SYNC_OPTIONS), (token_ranks,)),
        "ece": (torch_metrics.CalibrationError(**NO_SYNC_OPTIONS), (token_confidences, token_ranks == 1)),
    }
    for metric, arguments in updates.values():
        metric.update(*arguments)
    return {name: float(metric.compute()) for name, (metric, _) in updates.items()}


def _compute_pseudo_perplexity(scored_rows: pa.Table) -> dict[str, float]:
    import torch

    from winnow.evaluation.torch_metrics import PseudoPerplexity

    metric = PseudoPerplexity(**NO_SYNC_OPTIONS)
    metric.update(
        torch.tensor(scored_rows["pseudo_log_likelihood"].to_numpy()),
        torch.tensor(scored_rows["pseudo_tokens"].to_numpy()),
    )
    return {"pseudo_perplexity": float(metric.compute())} if metric.count else {}


def _flatten_list_column(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.copy()
