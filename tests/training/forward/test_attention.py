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
