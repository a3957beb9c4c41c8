import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from winnow.data.cache import publish_folder
from winnow.training.forward import linear_backend


@pytest.fixture(autouse=True)
def reset_backend(tmp_path: Path) -> Iterator[None]:
    yield
    linear_backend.choose_backends(torch.nn.Linear(1, 1), 1, 1, "portable", tmp_path)


@pytest.fixture
def layer() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(24, 40)


needs_onednn = pytest.mark.skipif(not linear_backend.is_onednn_usable(), reason="this build of PyTorch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_onednn_matches_the_layer(bias: bool, rows: int, tmp_path: Path) -> None:
    layer = torch.nn.Linear(24, 40, bias)
    states = torch.randn(rows, 24, requires_grad=True)
    linear_backend.choose_backends(layer, 8, 8, "onednn", tmp_path)
    assert len(linear_backend.list_onednn_matmuls()) == 4
    results = []
    for compute in (layer, lambda inputs: linear_backend.apply_linear(layer, inputs)):
        output = compute(states)
        loss = (output * torch.arange(40)).sum()
        results.append([output, *torch.autograd.grad(loss, [states, *layer.parameters()])])
    for expected, actual in zip(*results, strict=True):
        assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-3)


@needs_onednn
@pytest.mark.parametrize("rows", [1, 7])
def test_weights_are_prepacked_once_per_context(layer: Any, rows: int, tmp_path: Path) -> None:
    linear_backend.choose_backends(layer, 8, 8, "onednn", tmp_path)
    states = torch.randn(rows, 24)
    for _ in range(2):
        with linear_backend.prepacked_weights():
            for _ in range(2):
                assert torch.allclose(linear_backend.apply_linear(layer, states), layer(states), rtol=1e-5, atol=1e-5)
            assert linear_backend._prepacked_weight_cache is not None
            assert list(linear_backend._prepacked_weight_cache) == [layer.weight]
        with torch.no_grad():
            layer.weight += 1
    assert linear_backend._prepacked_weight_cache is None


@needs_onednn
def test_cached_timings_determine_the_backends(layer: Any, tmp_path: Path) -> None:
    rates = linear_backend.choose_backends(layer, 100, 100, "auto", tmp_path)
    assert rates.keys() == {(kind, 40, 24) for kind in linear_backend.MATMUL_FUNCTIONS}
    assert all(rate > 0 for by_backend in rates.values() for rate in by_backend.values())
    (folder,) = (tmp_path / "linear").iterdir()
    entries = json.loads((folder / "timings.json").read_text())
    for entry, onednn in zip(entries, [110.0, 102.0, 50.0, 50.0], strict=True):
        entry[3] = {"portable": 100.0, "onednn": onednn}
    shutil.rmtree(folder)
    with publish_folder(folder) as draft:
        draft.mkdir()
        (draft / "timings.json").write_text(json.dumps(entries))
    linear_backend.choose_backends(layer, 100, 100, "auto", tmp_path)
    assert linear_backend.list_onednn_matmuls() == ["forward 40 24"]
    linear_backend.choose_backends(layer, 100, 100, "portable", tmp_path)
    assert linear_backend.list_onednn_matmuls() == []


@needs_onednn
def test_recorded_backends_are_used_without_timing(layer: Any, tmp_path: Path) -> None:
    recorded = ["input_gradient 40 24", "forward 999 999"]
    assert linear_backend.choose_backends(layer, 100, 100, "auto", tmp_path, recorded) == {}
    assert linear_backend.list_onednn_matmuls() == ["input_gradient 40 24"]
    assert not list(tmp_path.iterdir())
    linear_backend.choose_backends(layer, 100, 100, "auto", tmp_path, [])
    assert linear_backend.list_onednn_matmuls() == []


@needs_onednn
def test_timings_of_a_read_only_cache_are_still_used(layer: Any, tmp_path: Path) -> None:
    (tmp_path / "linear").write_text("a file instead of a folder")
    rates = linear_backend.choose_backends(layer, 100, 100, "auto", tmp_path)
    assert rates.keys() == {(kind, 40, 24) for kind in linear_backend.MATMUL_FUNCTIONS}


def test_a_missing_operator_falls_back_to_the_portable_backend(
    layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_missing(*_: Any) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(linear_backend, "_apply_onednn", raise_missing)
    linear_backend.is_onednn_usable.cache_clear()
    assert linear_backend.choose_backends(layer, 100, 100, "onednn", tmp_path) == {}
    assert linear_backend.list_onednn_matmuls() == []
    states = torch.randn(3, 24)
    assert torch.equal(linear_backend.apply_linear(layer, states), layer(states))
    linear_backend.is_onednn_usable.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_use_pytorch(layer: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    layer, states = layer.to(dtype), torch.randn(3, 24, dtype=dtype)
    linear_backend.choose_backends(layer, 100, 100, "onednn", tmp_path)
    assert torch.equal(linear_backend.apply_linear(layer, states), layer(states))
