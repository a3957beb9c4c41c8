"""Held-out rows under fixed masks: what became of each masked token, and averages over slices of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from winnow.evaluation.mask_predictions import LOGITS_AT_ONCE, evaluating, logits_at_masks
from winnow.metrics.metric_names import ALL

if TYPE_CHECKING:
    import torch
    from torchmetrics import Metric
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from winnow.training import Masking, TokenRows
    from winnow.training.forward.masked_logits import ForwardMode

ALONE = {"sync_on_compute": False}
"""For a metric of rows that one process scored alone: after a distributed training it must not wait for the others."""


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
    """Score held-out rows, each under masks that are a function of seed, row and tokenizer alone.

    Rows of like length are scored together. Only masked tokens meet the vocabulary, so no tensor of all
    tokens times the vocabulary is made, whatever the model.

    Args:
        model: A masked language model; its mode and device are put back afterwards.
        rows: The held-out rows.
        masking: Draws the masks.
        seed: Seeds the masks; one value for all that is to be compared.
        batch_size: Rows scored at a time, at most; fewer where their logits would fill too much memory.
        device: Where to score.
        progress: Show a bar.
        forward: How the model is called; see :func:`winnow.training.masked_logits`.

    Returns:
        In the order of ``rows``: ``row_id``, ``loss_sum`` (float64, nats, from float32 logits), ``masked``
        (int64), ``top1`` and ``top5`` (int64): how many masked tokens were among the model's first one and
        five guesses, ``mrr`` (float64), the sum of their reciprocal ranks, and of each masked token its
        ``ranks`` (int32, from 1) and the ``confidences`` (float32), the probability of the model's first guess.
    """
    from rich.progress import track
    from torch.nn import functional

    from winnow.training import HeldOutBatches

    owners: list[npt.NDArray[np.int64]] = []
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    batches = HeldOutBatches(rows, masking, seed, _rows_at_once(rows, masking, batch_size))
    with evaluating(model, device):
        shown = track(batches, "Scoring held-out rows", len(batches), disable=not progress, transient=True)
        for chosen, batch in zip(batches.row_batches, shown, strict=True):
            logits, targets = logits_at_masks(model, batch.to(device), forward)
            losses = functional.cross_entropy(logits, targets, reduction="none")
            better = (logits > logits.gather(1, targets[:, None])).sum(1)
            confidences = (logits.amax(1) - logits.logsumexp(1)).exp() if len(logits) else losses
            owners.append(chosen[batch.masked_rows])
            parts.append(tuple(values.cpu().numpy() for values in (losses, better, confidences)))
    return _table(rows, owners, parts)


def _rows_at_once(rows: TokenRows, masking: Masking, batch_size: int) -> int:
    """Return how many of the longest rows leave no more logits than memory should hold."""
    longest = int(rows.lengths.max()) if len(rows) else 1
    return max(1, min(batch_size, int(LOGITS_AT_ONCE / (rows.vocabulary.size * max(1.0, masking.rate * longest)))))


def _table(
    rows: TokenRows, owners: Sequence[npt.NDArray[np.int64]], parts: Sequence[tuple[npt.NDArray[Any], ...]]
) -> pa.Table:
    """Put the tokens back into the order of the rows, and add up those of each."""
    none = np.zeros(0)
    losses, better, confidences = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else [none] * 3
    owner = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    owner, losses, confidences = owner[order], losses[order].astype(np.float64), confidences[order].astype(np.float32)
    ranks = better[order].astype(np.int32) + 1
    masked = np.bincount(owner, minlength=len(rows))
    offsets = pa.array(np.concatenate([[0], np.cumsum(masked)]), pa.int32())

    def summed(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(owner, weights=values, minlength=len(rows)).astype(np.float64)

    return pa.table(
        {
            "row_id": [f"{key:016x}" for key in rows.keys.tolist()],
            "loss_sum": summed(losses),
            "masked": masked,
            "top1": summed(ranks <= 1).astype(np.int64),
            "top5": summed(ranks <= 5).astype(np.int64),
            "mrr": summed(1 / ranks),
            "ranks": pa.ListArray.from_arrays(offsets, pa.array(ranks)),
            "confidences": pa.ListArray.from_arrays(offsets, pa.array(confidences)),
        }
    )


def score_pseudo(
    rows: pa.Table,
    texts: Sequence[str],
    limit: int,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    device: torch.device | str = "cpu",
    forward: ForwardMode = "auto",
    max_length: int | None = None,
) -> pa.Table:
    """Add the pseudo-log-likelihood of a fixed subset of the rows, the first by row id.

    Args:
        rows: What :func:`score_rows` returned.
        texts: The text of each.
        limit: Rows scored; a row of n tokens costs n copies of it.
        model: A masked language model.
        tokenizer: Its tokenizer.
        device: Where to score.
        forward: How the model is called.
        max_length: Tokens after which a text is cut off.

    Returns:
        The rows with ``pseudo_log_likelihood`` (float64, nats) and ``pseudo_tokens`` (int64), null outside the subset.
    """
    from winnow.evaluation.pseudo_likelihood import pseudo_log_likelihoods

    chosen = np.sort(np.argsort(np.array(rows["row_id"].to_pylist(), dtype=str), kind="stable")[:limit])
    sums, tokens = pseudo_log_likelihoods(
        [texts[row] for row in chosen], model, tokenizer, device, forward, max_length=max_length
    )
    outside = np.ones(len(rows), dtype=bool)
    outside[chosen] = False
    whole, counts = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    whole[chosen], counts[chosen] = sums, tokens
    return rows.append_column("pseudo_log_likelihood", pa.array(whole, mask=outside)).append_column(
        "pseudo_tokens", pa.array(counts, mask=outside)
    )


def slice_metrics(
    rows: pa.Table, members: Mapping[str, npt.NDArray[np.bool_]] | None = None
) -> dict[str, dict[str, float]]:
    """Average row scores over all rows and over named slices of them.

    Args:
        rows: What :func:`score_rows` returned, or :func:`score_pseudo`.
        members: For each slice one flag a row.

    Returns:
        For ``all`` and each slice ``rows`` and ``masked`` and, where a token was masked, the metrics of
        :mod:`winnow.evaluation.torch_metrics`: ``loss`` (mean over tokens, in nats), ``perplexity``, ``top1``,
        ``top5``, ``mrr`` and ``ece``; for ``all`` also ``pseudo_perplexity`` where it was scored. An empty slice
        has no averages.
    """
    slices = {ALL: np.ones(len(rows), dtype=bool), **(members or {})}
    tokens = np.repeat(np.arange(len(rows)), rows["masked"].to_numpy())
    ranks, confidences = (_flat(rows[name]) for name in ("ranks", "confidences"))
    found = {}
    for name, inside in slices.items():
        own = inside[tokens]
        counts = {"rows": float(inside.sum()), "masked": float(own.sum())}
        averages = _averages(rows.filter(pa.array(inside)), ranks[own], confidences[own]) if own.any() else {}
        found[name] = counts | averages
    if "pseudo_tokens" in rows.column_names and (scored := rows.filter(rows["pseudo_tokens"].is_valid())).num_rows:
        found[ALL] |= _pseudo(scored)
    return found


def _averages(rows: pa.Table, ranks: npt.NDArray[Any], confidences: npt.NDArray[Any]) -> dict[str, float]:
    import torch

    from winnow.evaluation import torch_metrics

    ranked, sure = torch.from_numpy(ranks), torch.from_numpy(confidences)
    sums = torch.tensor(rows["loss_sum"].to_numpy().sum()), torch.tensor(len(ranks))
    updates: dict[str, tuple[Metric, tuple[torch.Tensor, ...]]] = {
        "loss": (torch_metrics.MaskedLoss(**ALONE), sums),
        "perplexity": (torch_metrics.Perplexity(**ALONE), sums),
        "top1": (torch_metrics.TopK(1, **ALONE), (ranked,)),
        "top5": (torch_metrics.TopK(5, **ALONE), (ranked,)),
        "mrr": (torch_metrics.MeanReciprocalRank(**ALONE), (ranked,)),
        "ece": (torch_metrics.CalibrationError(**ALONE), (sure, ranked == 1)),
    }
    for metric, given in updates.values():
        metric.update(*given)
    return {name: float(metric.compute()) for name, (metric, _) in updates.items()}


def _pseudo(scored: pa.Table) -> dict[str, float]:
    import torch

    from winnow.evaluation.torch_metrics import PseudoPerplexity

    metric = PseudoPerplexity(**ALONE)
    metric.update(
        torch.tensor(scored["pseudo_log_likelihood"].to_numpy()), torch.tensor(scored["pseudo_tokens"].to_numpy())
    )
    return {"pseudo_perplexity": float(metric.compute())} if metric.count else {}


def _flat(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.copy()
