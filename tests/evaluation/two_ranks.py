"""Compute metrics on two processes with shards of different sizes; started by `test_torch_metrics`."""

import sys

import torch
import torch.distributed as dist

from winnow.evaluation import (
    CalibrationError,
    MaskedLoss,
    MeanReciprocalRank,
    Perplexity,
    PseudoPerplexity,
    TopK,
)

RANKS = torch.tensor([1, 3, 1, 2, 9, 1, 40])
CONFIDENCES = torch.tensor([0.9, 0.4, 0.35, 0.6, 0.05, 1.0, 0.2])
LOSSES = torch.tensor([0.1, 1.7, 0.3, 0.9, 4.5, 0.01, 6.0], dtype=torch.float64)


def compute_metrics(tokens: slice) -> dict[str, float]:
    ranks, confidences, losses = RANKS[tokens], CONFIDENCES[tokens], LOSSES[tokens]
    sums = losses.sum(), torch.tensor(len(losses))
    updates = {
        MaskedLoss(): sums,
        Perplexity(): sums,
        TopK(1): (ranks,),
        TopK(5): (ranks,),
        MeanReciprocalRank(): (ranks,),
        CalibrationError(): (confidences, ranks == 1),
        PseudoPerplexity(): (-losses, torch.ones(len(losses), dtype=torch.int64)),
    }
    results = {}
    for metric, arguments in updates.items():
        metric.update(*arguments)
        results[f"{type(metric).__name__}{getattr(metric, 'k', '')}"] = float(metric.compute())
    return results


if __name__ == "__main__":
    dist.init_process_group("gloo")
    result = compute_metrics(slice(0, 6) if dist.get_rank() == 0 else slice(6, 7))
    if dist.get_rank() == 0:
        torch.save(result, sys.argv[1])
    dist.destroy_process_group()
