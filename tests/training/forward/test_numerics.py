from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from winnow.errors import WinnowError
from winnow.training import Masking, TokenRows, TrainingBatches, masked_logits
from winnow.training.forward import efficient_forward, numerics

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def reset_numerics() -> Iterator[None]:
    yield
    efficient_forward.set_layer_compilation(False)
    torch.set_float32_matmul_precision("highest")


def test_the_settings_are_returned(model: Any, tmp_path: Path) -> None:
    settings = numerics.configure_numerics(model, CPU, 100, 15, tf32=True)
    assert (settings["device"], settings["tf32"], settings["linear"]) == ("cpu", True, "auto")
    assert torch.get_float32_matmul_precision() == "high"
    assert set(settings["onednn"]) <= set(settings["gflops"])
    assert numerics.configure_numerics(model, CPU, 100, 15, linear="portable")["onednn"] == []
    assert torch.get_float32_matmul_precision() == "highest"


def test_compilation_on_a_cpu_is_an_error(model: Any, tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match=r"numerics\.compile: expected false on cpu, got true"):
        numerics.configure_numerics(model, CPU, 100, 15, compiled=True)


def test_compiled_layers_have_the_same_logits(model: Any, rows: TokenRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers are traced completely; the CUDA compiler is not run."""
    compile_function = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **options: compile_function(function, backend="eager", **options)
    )
    efficient_forward._compile_after_attention.cache_clear()
    batches = TrainingBatches(rows, Masking(), 1, 16, 3)
    expected = [masked_logits(model, batch)[0] for batch in batches]
    efficient_forward.set_layer_compilation(True)
    batches.load_state_dict({"next": 0})
    for batch, logits in zip(batches, expected, strict=True):
        assert torch.allclose(masked_logits(model, batch)[0], logits, atol=1e-6)
    efficient_forward._compile_after_attention.cache_clear()
