from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DistilBertConfig, DistilBertForMaskedLM

from winnow.training import Masking, TokenRows, masked_lm_sums
from winnow.training.batch import masked_batch
from winnow.training.forward import efficient, linear, vocab_head

WORDS, INPUTS = 2 * linear.PIECE + 300, 24
"""Two pieces and a part of one."""


@pytest.fixture
def layer() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(INPUTS, WORDS)


@pytest.fixture
def small() -> Any:
    torch.manual_seed(0)
    config = DistilBertConfig(vocab_size=WORDS, n_layers=2, dim=16, hidden_dim=32, n_heads=2)
    return DistilBertForMaskedLM(config).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("chosen", ["portable", "onednn"])
def test_pieces_give_the_numbers_of_the_layer_itself(bias: bool, rows: int, chosen: Any, tmp_path: Path) -> None:
    layer = torch.nn.Linear(INPUTS, WORDS, bias)
    layer.get_output_embeddings = lambda: layer  # type: ignore[assignment]
    linear.choose(layer, 8, 8, chosen, tmp_path)
    states = torch.randn(rows, INPUTS, requires_grad=True)
    found = []
    for compute in (layer, lambda one: vocab_head.vocabulary_logits(layer, one)):
        made = compute(states)
        found.append([made, *torch.autograd.grad((made * torch.arange(WORDS)).sum(), [states, *layer.parameters()])])
    linear.choose(layer, 8, 8, "portable", tmp_path)
    for expected, ours in zip(*found, strict=True):
        assert torch.allclose(
            ours, expected, rtol=1e-5, atol=1e-6 * float(expected.detach().abs().max()) if rows else 0
        )


def test_rounded_factors_give_gradients_as_near_as_those_of_pytorch(layer: Any) -> None:
    states = torch.randn(40, INPUTS)
    found = []
    for compute, rounded in (
        (layer, False),
        (layer, True),
        (lambda one: vocab_head.vocabulary_logits(layer, one), True),
    ):
        leaf = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            made = compute(leaf)
        found.append([made, *torch.autograd.grad(made.float().square().sum(), [leaf, *layer.parameters()])])
    for exact, theirs, ours in zip(*found, strict=True):
        assert ours.dtype is theirs.dtype
        assert (ours - exact).norm() <= 1.1 * (theirs - exact).norm() < 0.02 * exact.norm()


def test_other_precisions_are_left_to_pytorch(layer: Any) -> None:
    layer, states = layer.double(), torch.randn(3, INPUTS, dtype=torch.float64)
    assert torch.allclose(vocab_head.vocabulary_logits(layer, states), layer(states), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_gradients_of_tied_weights_are_added_where_the_first_is(layer: Any, autocast: bool) -> None:
    """The embedding's few rows go to the head's gradient; those of a padding token are left out."""
    words = torch.nn.Embedding(*layer.weight.shape, padding_idx=5)
    words.weight, ids = layer.weight, torch.tensor([1, 5, 1])

    def gradients(together: bool) -> list[torch.Tensor]:
        layer.zero_grad()
        tied: vocab_head.Tied | None = [] if together else None
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            embedded = words(ids) if tied is None else vocab_head.embed(words, ids, tied)
            made = layer(embedded) if tied is None else vocab_head.vocabulary_logits(layer, embedded, tied)
        made.float().square().sum().backward()
        assert not tied
        return [layer.weight.grad.clone(), layer.bias.grad.clone()]

    for ours, theirs in zip(gradients(True), gradients(False), strict=True):
        assert ours.dtype is theirs.dtype is torch.float32
        # Embeddings' rows add up pieces in float32, where PyTorch rounds their sum once more.
        assert torch.allclose(ours, theirs, rtol=1e-2 if autocast else 1e-5, atol=1e-5 * float(theirs.abs().max()))


def step(model: Any, batch: Any) -> torch.Tensor:
    masked_lm_sums(model, batch, "efficient")[0].backward()
    gradient: torch.Tensor = model.get_output_embeddings().weight.grad
    return gradient


def test_the_gradient_of_a_step_lies_where_that_of_the_step_before_lay(small: Any, rows: TokenRows) -> None:
    first, second = (masked_batch(rows.take(np.arange(8 * i, 8 * i + 8)), Masking(), 0) for i in range(2))
    alone = step(small, second).clone()
    small.zero_grad()
    before = step(small, first)
    place, of_first = before.data_ptr(), before.clone()
    vocab_head.reuse_gradient(small)
    assert small.get_output_embeddings().weight.grad is None
    small.zero_grad()
    del before  # autograd copies a gradient that somebody else holds
    after = step(small, second)
    assert after.data_ptr() == place
    assert torch.equal(after, alone)
    summed = step(small, first)  # without a step between them two gradients add up
    assert torch.allclose(summed, alone + of_first, rtol=1e-5, atol=1e-6)


def test_the_memory_of_a_gradient_is_not_taken_for_weights_of_another_type(small: Any, rows: TokenRows) -> None:
    batch = masked_batch(rows.take(np.arange(8)), Masking(), 0)
    step(small, batch)
    vocab_head.reuse_gradient(small)
    small.double().zero_grad()
    assert step(small, batch).dtype is torch.float64


@pytest.mark.parametrize(
    ("count", "digits", "more"), [(0, 5, 0), (31, 5, 0), (33, 5, 1), (428, 5, 4), (1024, 5, 0), (70, 4, 2)]
)
def test_sizes_are_rounded_up_to_a_few_binary_digits(count: int, digits: int, more: int) -> None:
    assert efficient._missing(count, digits) == more
