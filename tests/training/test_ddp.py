"""Losses and gradients do not depend on the number of processes and accumulated batches."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.trainers import run_two_ranks

SCRIPT = Path(__file__).parent / "two_processes.py"
train = runpy.run_path(str(SCRIPT))["train"]


@pytest.fixture(scope="module")
def single_process() -> dict[str, Any]:
    return train()


def assert_same(result: dict[str, Any], expected: dict[str, Any]) -> None:
    assert len(result["gradients"]) == len(expected["gradients"]) == 2
    for step, gradients in zip(result["gradients"], expected["gradients"], strict=True):
        for name, gradient in gradients.items():
            if gradient.norm() > 1e-8:
                assert (step[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    assert result["tokens"] == expected["tokens"] > 0
    for name in ("train/loss", "validation/loss", "validation/perplexity", "train/tokens"):
        assert result["metrics"][name] == pytest.approx(expected["metrics"][name], rel=1e-6), name


@pytest.mark.parametrize("accumulate", [3, 4, 9])
def test_accumulated_batches_have_the_gradients_of_a_single_batch(
    single_process: dict[str, Any], accumulate: int
) -> None:
    result = train(accumulate)
    assert_same(result, single_process)
    assert (result["without_mask"] > 0) is (accumulate == 9), "batches of one row include some without masked tokens"


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the results of both processes."""
    folder = tmp_path_factory.mktemp("two_processes")
    run_two_ranks(SCRIPT, str(folder / "result.pt"), "4")
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_have_the_gradients_of_a_single_process(
    single_process: dict[str, Any], two_processes: list[dict[str, Any]]
) -> None:
    assert_same(two_processes[0], single_process)
    assert sum(result["without_mask"] for result in two_processes) > 0


def test_a_signal_to_one_process_stops_both_after_the_same_step(two_processes: list[dict[str, Any]]) -> None:
    assert [result["code"] for result in two_processes] == [143, 143]
    assert [result["step"] for result in two_processes] == [4, 4], "the signal is all-reduced in the next step"


def test_two_processes_resume_bit_identically(two_processes: list[dict[str, Any]]) -> None:
    assert all(result["equal"] for result in two_processes)


def test_the_perplexity_is_the_exponential_of_the_loss(single_process: dict[str, Any]) -> None:
    assert single_process["metrics"]["validation/perplexity"] == pytest.approx(
        torch.tensor(single_process["metrics"]["validation/loss"]).exp().item(), rel=1e-5
    )
