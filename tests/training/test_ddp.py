"""Ranks and accumulation give the loss and the gradients of one process and one batch."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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


@pytest.mark.parametrize("accumulate", [3, 4])
def test_accumulated_batches_give_the_gradients_of_one(alone: dict[str, Any], accumulate: int) -> None:
    assert_same(train(accumulate), alone)


def test_two_processes_give_the_gradients_of_one(alone: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "result.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(out), "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert_same(torch.load(out, weights_only=True), alone)


def test_the_loss_is_the_mean_over_tokens(alone: dict[str, Any]) -> None:
    assert alone["metrics"]["validation/perplexity"] == pytest.approx(
        torch.tensor(alone["metrics"]["validation/loss"]).exp().item(), rel=1e-5
    )
