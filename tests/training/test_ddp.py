"""Ranks and accumulation give the loss and the gradients of one process and one batch."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.trainers import run_two_ranks

SCRIPT = Path(__file__).parent / "two_processes.py"
train = runpy.run_path(str(SCRIPT))["train"]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return train()


def assert_same(result: dict[str, Any], alone: dict[str, Any]) -> None:
    assert len(result["gradients"]) == len(alone["gradients"]) == 2
    for step, expected in zip(result["gradients"], alone["gradients"], strict=True):
        for name, gradient in expected.items():
            if gradient.norm() > 1e-8:
                assert (step[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    assert result["tokens"] == alone["tokens"] > 0
    for name in ("train/loss", "validation/loss", "validation/perplexity", "train/tokens"):
        assert result["metrics"][name] == pytest.approx(alone["metrics"][name], rel=1e-6), name


@pytest.mark.parametrize("accumulate", [3, 4, 9])
def test_accumulated_batches_give_the_gradients_of_one(alone: dict[str, Any], accumulate: int) -> None:
    result = train(accumulate)
    assert_same(result, alone)
    assert (result["without_mask"] > 0) is (accumulate == 9), "a row alone may have no masked token, and does no harm"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes saw."""
    folder = tmp_path_factory.mktemp("together")
    run_two_ranks(SCRIPT, str(folder / "result.pt"), "4")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_give_the_gradients_of_one(alone: dict[str, Any], together: list[dict[str, Any]]) -> None:
    assert_same(together[0], alone)
    assert sum(result["without_mask"] for result in together) > 0


def test_a_signal_to_one_process_stops_both_after_the_same_step(together: list[dict[str, Any]]) -> None:
    assert [result["code"] for result in together] == [143, 143]
    assert [result["step"] for result in together] == [4, 4], "told in the sums of the step after"


def test_two_processes_resume_bit_for_bit(together: list[dict[str, Any]]) -> None:
    assert all(result["equal"] for result in together)


def test_the_loss_is_the_mean_over_tokens(alone: dict[str, Any]) -> None:
    assert alone["metrics"]["validation/perplexity"] == pytest.approx(
        torch.tensor(alone["metrics"]["validation/loss"]).exp().item(), rel=1e-5
    )
