from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM

from winnow.training import Masking, TokenRows, masked_lm_loss_sum
from winnow.training.forward import efficient_forward, linear_backend, vocab_head
from winnow.training.masked_batch import build_masked_batch

WORDS, INPUTS = 2 * linear_backend.VOCAB_CHUNK_SIZE + 300, 24
"""Two full chunks and a partial one."""


@pytest.fixture
def layer() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(INPUTS, WORDS)


@pytest.fixture
def small_model() -> Any:
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=WORDS, n_layers=2, dim=16, hidden_dim=32, n_heads=2)
    return DistilBertForMaskedLM(config).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("backend", ["portable", "onednn"])
def test_chunks_match_the_layer(bias: bool, rows: int, backend: Any, tmp_path: Path) -> None:
    layer = torch.nn.Linear(INPUTS, WORDS, bias)
    layer.get_output_embeddings = lambda: layer  # type: ignore[assignment]
    linear_backend.choose_backends(layer, 8, 8, backend, tmp_path)
    states = torch.randn(rows, INPUTS, requires_grad=True)
    results = []
    for compute in (layer, lambda inputs: vocab_head.compute_vocab_logits(layer, inputs)):
        logits = compute(states)
        loss = (logits * torch.arange(WORDS)).sum()
        results.append([logits, *torch.autograd.grad(loss, [states, *layer.parameters()])])
    linear_backend.choose_backends(layer, 8, 8, "portable", tmp_path)
    for expected, actual in zip(*results, strict=True):
        assert torch.allclose(
            actual, expected, rtol=1e-5, atol=1e-6 * float(expected.detach().abs().max()) if rows else 0
        )


def test_bf16_gradients_are_as_accurate_as_those_of_pytorch(layer: Any) -> None:
    states = torch.randn(40, INPUTS)
    results = []
    for compute, autocast in (
        (layer, False),
        (layer, True),
        (lambda inputs: vocab_head.compute_vocab_logits(layer, inputs), True),
    ):
        leaf = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = compute(leaf)
        results.append([logits, *torch.autograd.grad(logits.float().square().sum(), [leaf, *layer.parameters()])])
    for exact, expected, actual in zip(*results, strict=True):
        assert actual.dtype is expected.dtype
        assert (actual - exact).norm() <= 1.1 * (expected - exact).norm() < 0.02 * exact.norm()


def test_other_precisions_use_pytorch(layer: Any) -> None:
    layer, states = layer.double(), torch.randn(3, INPUTS, dtype=torch.float64)
    assert torch.allclose(vocab_head.compute_vocab_logits(layer, states), layer(states), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_gradients_of_tied_weights_are_added_in_place(layer: Any, autocast: bool) -> None:
    """The gradient of the embeddings is added to that of the head, except for padding tokens."""
    embeddings = torch.nn.Embedding(*layer.weight.shape, padding_idx=5)
    embeddings.weight, ids = layer.weight, torch.tensor([1, 5, 1])

    def compute_gradients(is_tied: bool) -> list[torch.Tensor]:
        layer.zero_grad()
        tied: vocab_head.TiedGradient | None = [] if is_tied else None
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            embedded = embeddings(ids) if tied is None else vocab_head.embed_tied(embeddings, ids, tied)
            logits = layer(embedded) if tied is None else vocab_head.compute_vocab_logits(layer, embedded, tied)
        logits.float().square().sum().backward()
        assert not tied
        return [layer.weight.grad.clone(), layer.bias.grad.clone()]

    for actual, expected in zip(compute_gradients(True), compute_gradients(False), strict=True):
        assert actual.dtype is expected.dtype is torch.float32
        # The sum over the chunks stays in float32, while PyTorch rounds it to bf16.
        assert torch.allclose(
            actual, expected, rtol=1e-2 if autocast else 1e-5, atol=1e-5 * float(expected.abs().max())
        )


def run_backward(model: Any, batch: Any) -> torch.Tensor:
    masked_lm_loss_sum(model, batch, "efficient")[0].backward()
    gradient: torch.Tensor = model.get_output_embeddings().weight.grad
    return gradient


def test_the_gradient_of_a_step_reuses_the_memory_of_the_previous_one(small_model: Any, rows: TokenRows) -> None:
    first, second = (build_masked_batch(rows.take(np.arange(8 * i, 8 * i + 8)), Masking(), 0) for i in range(2))
    expected = run_backward(small_model, second).clone()
    small_model.zero_grad()
    before = run_backward(small_model, first)
    address, first_gradient = before.data_ptr(), before.clone()
    vocab_head.recycle_head_gradient(small_model)
    assert small_model.get_output_embeddings().weight.grad is None
    small_model.zero_grad()
    del before  # autograd copies a gradient that has another reference
    after = run_backward(small_model, second)
    assert after.data_ptr() == address
    assert torch.equal(after, expected)
    summed = run_backward(small_model, first)  # without a step in between, gradients accumulate
    assert torch.allclose(summed, expected + first_gradient, rtol=1e-5, atol=1e-6)


def test_the_memory_of_a_gradient_is_not_reused_for_another_dtype(small_model: Any, rows: TokenRows) -> None:
    batch = build_masked_batch(rows.take(np.arange(8)), Masking(), 0)
    run_backward(small_model, batch)
    vocab_head.recycle_head_gradient(small_model)
    small_model.double().zero_grad()
    assert run_backward(small_model, batch).dtype is torch.float64


@pytest.mark.parametrize(
    ("count", "digits", "padding"), [(0, 5, 0), (31, 5, 0), (33, 5, 1), (428, 5, 4), (1024, 5, 0), (70, 4, 2)]
)
def test_sizes_are_rounded_up_to_a_few_binary_digits(count: int, digits: int, padding: int) -> None:
    assert efficient_forward._count_padding(count, digits) == padding
