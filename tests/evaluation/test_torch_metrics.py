"""Metrics of masked tokens: hand-computed cases, and two processes with shards of different sizes."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

from fixtures.trainers import run_two_ranks
from winnow.evaluation import CalibrationError, MeanReciprocalRank, PseudoPerplexity, TopK

SCRIPT = Path(__file__).parent / "two_ranks.py"


def test_top_k_and_mean_reciprocal_rank_match_a_hand_computed_case() -> None:
    top1, top5, mrr = TopK(1), TopK(5), MeanReciprocalRank()
    for ranks in ([1, 5], [6], [1, 1, 100]):
        for metric in (top1, top5, mrr):
            metric.update(torch.tensor(ranks))
    assert float(top1.compute()) == 3 / 6
    assert float(top5.compute()) == 4 / 6
    assert float(mrr.compute()) == pytest.approx((1 + 1 / 5 + 1 / 6 + 1 + 1 + 1 / 100) / 6, abs=1e-15)


def test_calibration_error_matches_a_hand_computed_case() -> None:
    error = CalibrationError(bins=4)
    error.update(torch.tensor([0.125, 0.25, 0.5]), torch.tensor([False, True, True]))  # 0.25 is in the lowest bin
    error.update(torch.tensor([1.0, 0.0]), torch.tensor([True, False]))
    lowest = abs(1 - (0.125 + 0.25 + 0.0))
    assert float(error.compute()) == (lowest + abs(1 - 0.5) + 0) / 5


def test_a_calibrated_model_has_no_calibration_error() -> None:
    error = CalibrationError()
    error.update(torch.full((4,), 0.75), torch.tensor([True, True, True, False]))
    assert float(error.compute()) == pytest.approx(0, abs=1e-12)


def test_pseudo_perplexity_averages_over_tokens_and_not_over_texts() -> None:
    perplexity = PseudoPerplexity()
    perplexity.update(torch.tensor([-6.0], dtype=torch.float64), torch.tensor([3]))
    perplexity.update(torch.tensor([-2.0], dtype=torch.float64), torch.tensor([1]))
    assert float(perplexity.compute()) == pytest.approx(math.exp(8 / 4))


def test_counts_are_exact_beyond_the_float32_range() -> None:
    mrr = MeanReciprocalRank()
    mrr.total += 2.0**24
    mrr.count += 2**24
    mrr.update(torch.ones(1, dtype=torch.int64))
    assert int(mrr.count) == 2**24 + 1
    assert float(mrr.compute()) == 1.0


def test_two_instances_of_one_class_are_separate_in_a_collection() -> None:
    both = MetricCollection({"top1": TopK(1), "top5": TopK(5)}, compute_groups=False)
    both.update(torch.tensor([1, 3, 5, 7]))
    both.update(torch.tensor([2]))
    assert {name: float(value) for name, value in both.compute().items()} == {"top1": 1 / 5, "top5": 4 / 5}


def test_metrics_without_tokens_are_nan() -> None:
    assert math.isnan(float(TopK().compute()))
    assert math.isnan(float(CalibrationError().compute()))


@pytest.mark.slow
def test_two_processes_with_uneven_shards_match_one_process(tmp_path: Path) -> None:
    out = tmp_path / "result.pt"
    run_two_ranks(SCRIPT, str(out))
    expected = runpy.run_path(str(SCRIPT))["compute_metrics"](slice(0, 7))
    result = torch.load(out, weights_only=True)
    assert len(expected) == 7
    assert result == pytest.approx(expected, rel=1e-12)
