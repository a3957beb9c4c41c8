"""FlashAttention with a reference implementation of its function; the package itself needs a GPU."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from winnow.training.forward import attention

GROUPS = [(3, 2), (1, 5), (2, 7)]
TOKENS = 6 + 5 + 14


def reference_varlen_func(query: Any, key: Any, value: Any, **settings: Any) -> torch.Tensor:
    """Compute the documented result of `flash_attn_varlen_func`, sequence by sequence."""
    assert settings["max_seqlen_q"] == settings["max_seqlen_k"] == 7
    ends = settings["cu_seqlens_q"]
    assert ends.dtype is torch.int32
    assert torch.equal(ends, settings["cu_seqlens_k"])
    outputs = []
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        heads = (tensor[None, start:end].transpose(1, 2) for tensor in (query, key, value))
        outputs.append(
            functional.scaled_dot_product_attention(*heads, dropout_p=settings["dropout_p"])[0].transpose(0, 1)
        )
    return torch.cat(outputs)


def test_flash_attention_equals_attention_by_length_group() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(TOKENS, 12, dtype=torch.float64) for _ in range(3)]
    expected = attention.attend(*tensors, GROUPS, head_size=4, dropout=0.0)
    actual = attention._attend_varlen(reference_varlen_func, *tensors, GROUPS, 4, 0.0)
    assert torch.allclose(actual, expected)


def test_flash_attention_is_loaded_if_its_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    attention.load_flash_attention.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert attention.load_flash_attention() is None
    attention.load_flash_attention.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=reference_varlen_func))
    assert attention.load_flash_attention() is reference_varlen_func
    attention.load_flash_attention.cache_clear()


def run_attention(attend: Any, tensors: list[torch.Tensor], dropout: float) -> list[torch.Tensor]:
    """Return the output of an attention function and the gradients of its inputs."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    torch.manual_seed(1)
    output = attend(*leaves, dropout)
    return [output, *torch.autograd.grad(output, leaves, torch.ones_like(output).cumsum(-1))]


def attend_with_pytorch(query: Any, key: Any, value: Any, dropout: float) -> torch.Tensor:
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 9, 70])
def test_training_with_dropout_has_the_outputs_and_gradients_of_pytorch(dtype: torch.dtype, length: int) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 4, length, 16).to(dtype) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        results = [run_attention(attend, tensors, 0.1) for attend in (attention._attend_rows, attend_with_pytorch)]
    assert all(torch.equal(actual, expected) for actual, expected in zip(*results, strict=True))


def test_training_in_bfloat16_without_dropout_is_as_accurate_as_pytorch() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 4, 9, 16).bfloat16() for _ in range(3)]
    exact = run_attention(attend_with_pytorch, [tensor.double() for tensor in tensors], 0.0)
    errors = [
        [
            (actual - expected).abs().mean()
            for actual, expected in zip(run_attention(attend, tensors, 0.0), exact, strict=True)
        ]
        for attend in (attention._attend_rows, attend_with_pytorch)
    ]
    assert all(error <= 1.01 * pytorch_error for error, pytorch_error in zip(*errors, strict=True))
