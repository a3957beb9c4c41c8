import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from winnow.data.cache import published
from winnow.training.forward import linear


@pytest.fixture(autouse=True)
def portable_afterwards(tmp_path: Path) -> Iterator[None]:
    yield
    linear.choose(torch.nn.Linear(1, 1), 1, 1, "portable", tmp_path)


@pytest.fixture
def layer() -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(24, 40)


needs_onednn = pytest.mark.skipif(not linear.onednn_works(), reason="this build of PyTorch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 7])
def test_onednn_gives_the_numbers_of_the_layer_itself(bias: bool, rows: int, tmp_path: Path) -> None:
    layer = torch.nn.Linear(24, 40, bias)
    states = torch.randn(rows, 24, requires_grad=True)
    linear.choose(layer, 8, 8, "onednn", tmp_path)
    assert len(linear.chosen()) == 4
    found = []
    for compute in (layer, lambda one: linear.linear(layer, one)):
        wanted = [states, *layer.parameters()]
        made = compute(states)
        found.append([made, *torch.autograd.grad((made * torch.arange(40)).sum(), wanted)])
    for expected, ours in zip(*found, strict=True):
        assert torch.allclose(ours, expected, rtol=1e-5, atol=1e-3)


@needs_onednn
@pytest.mark.parametrize("rows", [1, 7])
def test_weights_are_laid_out_once_for_as_long_as_they_do_not_change(layer: Any, rows: int, tmp_path: Path) -> None:
    linear.choose(layer, 8, 8, "onednn", tmp_path)
    states = torch.randn(rows, 24)
    for _ in range(2):
        with linear.weights_laid_out():
            for _ in range(2):
                assert torch.allclose(linear.linear(layer, states), layer(states), rtol=1e-5, atol=1e-5)
            assert linear._laid_out is not None
            assert list(linear._laid_out) == [layer.weight]
        with torch.no_grad():
            layer.weight += 1
    assert linear._laid_out is None


@needs_onednn
def test_what_was_timed_once_decides_ever_after(layer: Any, tmp_path: Path) -> None:
    timings = linear.choose(layer, 100, 100, "auto", tmp_path)
    assert timings.keys() == {(name, 40, 24) for name in linear.PRODUCTS}
    assert all(rate > 0 for by in timings.values() for rate in by.values())
    (folder,) = (tmp_path / "linear").iterdir()
    told = json.loads((folder / "timings.json").read_text())
    for one, onednn in zip(told, [110.0, 102.0, 50.0, 50.0], strict=True):
        one[3] = {"portable": 100.0, "onednn": onednn}
    shutil.rmtree(folder)
    with published(folder) as draft:
        draft.mkdir()
        (draft / "timings.json").write_text(json.dumps(told))
    linear.choose(layer, 100, 100, "auto", tmp_path)
    assert linear.chosen() == [("forward", 40, 24)]
    linear.choose(layer, 100, 100, "portable", tmp_path)
    assert linear.chosen() == []


def test_where_the_private_operator_is_gone_nothing_is_said_and_the_other_computes(
    layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(linear, "_onednn", gone)
    linear.onednn_works.cache_clear()
    assert linear.choose(layer, 100, 100, "onednn", tmp_path) == {}
    assert linear.chosen() == []
    states = torch.randn(3, 24)
    assert torch.equal(linear.linear(layer, states), layer(states))
    linear.onednn_works.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_left_to_pytorch(layer: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    layer, states = layer.to(dtype), torch.randn(3, 24, dtype=dtype)
    linear.choose(layer, 100, 100, "onednn", tmp_path)
    assert torch.equal(linear.linear(layer, states), layer(states))
