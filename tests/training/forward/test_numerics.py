from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from winnow.errors import WinnowError
from winnow.training import Masking, TokenRows, TrainingBatches, masked_logits
from winnow.training.forward import efficient, numerics

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    efficient.compile_layers(False)
    torch.set_float32_matmul_precision("highest")


def test_what_was_decided_is_told(model: Any, tmp_path: Path) -> None:
    facts = numerics.set_up(model, CPU, 100, 15, tmp_path, tf32=True)
    assert (facts["device"], facts["tf32"], facts["linear"]) == ("cpu", True, "auto")
    assert torch.get_float32_matmul_precision() == "high"
    assert set(facts["onednn"]) <= set(facts["gflops"])
    assert numerics.set_up(model, CPU, 100, 15, tmp_path, linear="portable")["onednn"] == []
    assert torch.get_float32_matmul_precision() == "highest"


def test_compiling_for_a_cpu_is_refused_with_the_reason(model: Any, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"arithmetic\.compile: Compiling gains nothing on a CPU"):
        numerics.set_up(model, CPU, 100, 15, tmp_path, compiled=True)


def test_compiled_layers_give_the_same_logits(model: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers are traced in full; what CUDA's compiler makes of them is not run here."""
    traced = torch.compile
    monkeypatch.setattr(torch, "compile", lambda what, **settings: traced(what, backend="eager", **settings))
    efficient._compiled_after_attention.cache_clear()
    batches = TrainingBatches(rows, Masking(), 1, 16, 3)
    expected = [masked_logits(model, batch)[0] for batch in batches]
    efficient.compile_layers(True)
    batches.load_state_dict({"next": 0})
    for batch, logits in zip(batches, expected, strict=True):
        assert torch.allclose(masked_logits(model, batch)[0], logits, atol=1e-6)
    efficient._compiled_after_attention.cache_clear()
