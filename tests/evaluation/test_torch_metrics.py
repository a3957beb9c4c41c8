"""The metrics of masked tokens, each by hand, and on two processes with uneven shares."""

import math
import runpy
from pathlib import Path

import pytest
import torch
from torchmetrics import MetricCollection

from fixtures.trainers import run_two_ranks
from winnow.evaluation import CalibrationError, MeanReciprocalRank, PseudoPerplexity, TopK

SCRIPT = Path(__file__).parent / "two_ranks.py"


def test_top_k_and_reciprocal_ranks_by_hand() -> None:
    top1, top5, mrr = TopK(1), TopK(5), MeanReciprocalRank()
    for ranks in ([1, 5], [6], [1, 1, 100]):
        for metric in (top1, top5, mrr):
            metric.update(torch.tensor(ranks))
    assert float(top1.compute()) == 3 / 6
    assert float(top5.compute()) == 4 / 6
    assert float(mrr.compute()) == pytest.approx((1 + 1 / 5 + 1 / 6 + 1 + 1 + 1 / 100) / 6, abs=1e-15)


def test_calibration_by_hand() -> None:
    error = CalibrationError(bins=4)
    error.update(torch.tensor([0.125, 0.25, 0.5]), torch.tensor([False, True, True]))  # 0.25 is in the lowest bin
    error.update(torch.tensor([1.0, 0.0]), torch.tensor([True, False]))
    lowest = abs(1 - (0.125 + 0.25 + 0.0))
    assert float(error.compute()) == (lowest + abs(1 - 0.5) + 0) / 5


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    error = CalibrationError()
    error.update(torch.full((4,), 0.75), torch.tensor([True, True, True, False]))
    assert float(error.compute()) == pytest.approx(0, abs=1e-12)


def test_pseudo_perplexity_weighs_tokens_and_not_texts() -> None:
    perplexity = PseudoPerplexity()
    perplexity.update(torch.tensor([-6.0], dtype=torch.float64), torch.tensor([3]))
    perplexity.update(torch.tensor([-2.0], dtype=torch.float64), torch.tensor([1]))
    assert float(perplexity.compute()) == pytest.approx(math.exp(8 / 4))


def test_counts_beyond_what_float32_can_count() -> None:
    mrr = MeanReciprocalRank()
    mrr.total += 2.0**24
    mrr.count += 2**24
    mrr.update(torch.ones(1, dtype=torch.int64))
    assert int(mrr.count) == 2**24 + 1
    assert float(mrr.compute()) == 1.0


def test_two_of_one_class_stay_apart_in_a_collection() -> None:
    both = MetricCollection({"top1": TopK(1), "top5": TopK(5)}, compute_groups=False)
    both.update(torch.tensor([1, 3, 5, 7]))
    both.update(torch.tensor([2]))
    assert {name: float(value) for name, value in both.compute().items()} == {"top1": 1 / 5, "top5": 4 / 5}


def test_no_token_is_no_number_and_not_zero() -> None:
    assert math.isnan(float(TopK().compute()))
    assert math.isnan(float(CalibrationError().compute()))


@pytest.mark.slow
def test_two_processes_with_uneven_shares_give_the_scores_of_one(tmp_path: Path) -> None:
    out = tmp_path / "result.pt"
    run_two_ranks(SCRIPT, str(out))
    alone = runpy.run_path(str(SCRIPT))["measured"](slice(0, 7))
    together = torch.load(out, weights_only=True)
    assert len(alone) == 7
    assert together == pytest.approx(alone, rel=1e-12)
