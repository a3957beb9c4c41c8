"""The route of flash attention, with its function written out here: the package itself needs a GPU."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from winnow.training.forward import attention

GROUPS = [(3, 2), (1, 5), (2, 7)]
TOKENS = 6 + 5 + 14


def written_out(query: Any, key: Any, value: Any, **settings: Any) -> torch.Tensor:
    """What `flash_attn_varlen_func` is documented to compute, for sequences from one end to the next."""
    assert settings["max_seqlen_q"] == settings["max_seqlen_k"] == 7
    ends = settings["cu_seqlens_q"]
    assert ends.dtype is torch.int32
    assert torch.equal(ends, settings["cu_seqlens_k"])
    found = []
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        heads = (part[None, start:end].transpose(1, 2) for part in (query, key, value))
        found.append(
            functional.scaled_dot_product_attention(*heads, dropout_p=settings["dropout_p"])[0].transpose(0, 1)
        )
    return torch.cat(found)


def test_all_rows_at_once_attend_as_group_by_group() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(TOKENS, 12, dtype=torch.float64) for _ in range(3)]
    expected = attention.attend(*parts, GROUPS, head_size=4, dropout=0.0)
    found = attention._all_at_once(written_out, *parts, GROUPS, 4, 0.0)
    assert torch.allclose(found, expected)


def test_flash_attention_is_taken_from_its_package_and_none_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    attention.flash_attention.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert attention.flash_attention() is None
    attention.flash_attention.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=written_out))
    assert attention.flash_attention() is written_out
    attention.flash_attention.cache_clear()
