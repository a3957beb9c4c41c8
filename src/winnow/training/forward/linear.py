"""Where the products of linear layers are computed on a CPU: by PyTorch's own library, or by oneDNN where it is faster.

PyTorch hands float32 products to MKL, whose kernels are made for Intel's processors. The oneDNN that it brings along
takes them too, through an operator that is private; so it is looked for, tried against the other and timed before it is
used. Both compute the same sums in float32, in another order.
"""

from __future__ import annotations

import functools
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Linear = Literal["auto", "onednn", "portable"]
"""``portable`` is PyTorch's own library everywhere; ``onednn`` takes oneDNN wherever this build has it; ``auto`` takes
for each product the one that was faster when both were timed on this machine."""

Product = tuple[str, int, int]
"""One of a layer's products, its outputs and its inputs: ``forward``, ``input_gradient``, ``weight_gradient``, or
``inference``, a forward within :func:`weights_laid_out`."""

Timings = dict[Product, dict[str, float]]
"""For each product, 10**9 floating point operations a second by library; ``portable`` and ``onednn``."""

_MARGIN = 1.03
"""oneDNN must be faster by so much, so that the choice does not hang on the noise of the clock."""

PIECE = 1024
"""Vocabulary rows that :mod:`winnow.training.forward.vocab_head` computes at a time: 1.5 MB of bf16 for DistilBERT."""

_REPEATS = 3

_by_onednn: frozenset[Product] = frozenset()

_laid_out: dict[Tensor, Tensor] | None = None


def linear(layer: Any, states: Tensor) -> Tensor:
    """Return what a linear layer makes of states of shape ``(tokens, inputs)``.

    Under autocast the factors of its products are rounded as PyTorch rounds them.
    """
    if states.device.type != "cpu":
        return functional.linear(states, layer.weight, layer.bias)
    made = by_laid_out_weights(layer, states)
    if made is None:
        made = _Linear.apply(states, layer.weight, layer.bias, factors(states))  # type: ignore[no-untyped-call]
    return made


def factors(states: Tensor) -> torch.dtype:
    """Return what the factors of a product on the CPU are rounded to, as PyTorch has it."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype


def by_laid_out_weights(layer: Any, states: Tensor) -> Tensor | None:
    """Return what a layer makes of states within :func:`weights_laid_out`, or ``None`` where that does not apply."""
    if _laid_out is None or factors(states) is not torch.float32:
        return None
    if not takes_onednn("inference", layer.weight, states):
        return None
    if layer.weight not in _laid_out:
        _laid_out[layer.weight] = _as_onednn_reads(layer.weight, len(states))
    return _onednn(states, _laid_out[layer.weight], layer.bias)


@contextmanager
def weights_laid_out() -> Iterator[None]:
    """Within it, keep the weights that oneDNN takes as it reads them best, rather than lay them out at every product.

    They must not change meanwhile, and nothing is differentiated. It costs the memory of another set of weights.
    """
    global _laid_out
    before, _laid_out = _laid_out, {}
    try:
        with torch.inference_mode():
            yield
    finally:
        _laid_out = before


class _Linear(torch.autograd.Function):
    """A linear layer whose products go where they are fastest."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, factors: torch.dtype) -> Tensor:
        ctx.dtypes, ctx.has_bias = (states.dtype, weight.dtype), bias is not None
        states, weight, bias = states.to(factors), weight.to(factors), None if bias is None else bias.to(factors)
        ctx.save_for_backward(states, weight)
        return output(states, weight, bias, takes_onednn("forward", weight, states))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        states_dtype, weight_dtype = ctx.dtypes
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            takes = takes_onednn("input_gradient", weight, gradient)
            of_states = input_gradient(gradient, weight, takes).to(states_dtype)
        if ctx.needs_input_grad[1]:
            takes = takes_onednn("weight_gradient", weight, gradient)
            of_weight = weight_gradient(gradient, states, takes).to(weight_dtype)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum(0).to(weight_dtype)
        return of_states, of_weight, of_bias, None


def output(states: Tensor, weight: Tensor, bias: Tensor | None, by_onednn: bool) -> Tensor:
    """Return what a layer makes of states."""
    return _onednn(states, weight, bias) if by_onednn else functional.linear(states, weight, bias)


def input_gradient(gradient: Tensor, weight: Tensor, by_onednn: bool) -> Tensor:
    """Return the gradient of a layer's states from that of its output."""
    return _onednn(gradient, weight.t()) if by_onednn else gradient @ weight


def weight_gradient(gradient: Tensor, states: Tensor, by_onednn: bool) -> Tensor:
    """Return the gradient of a layer's weights from that of its output."""
    return _onednn(gradient.t(), states.t()) if by_onednn else gradient.t() @ states


def takes_onednn(product: str, weight: Tensor, rows: Tensor) -> bool:
    """Tell whether oneDNN computes a product of a layer that has these weights."""
    if not _by_onednn or rows.dtype is not torch.float32 or not len(rows):
        return False
    return (product, weight.shape[0], weight.shape[1]) in _by_onednn


def _as_onednn_reads(weight: Tensor, rows: int) -> Tensor:
    made: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return made


def _onednn(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    made: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return made


@functools.cache
def onednn_works() -> bool:
    """Tell whether this build of PyTorch has the operator, and whether it gives the right numbers."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    states, weight, bias = (torch.randn(size, generator=generator) for size in ((5, 16), (24, 16), (24,)))
    gradient = torch.randn(5, 24, generator=generator)
    try:
        pairs = (
            (_onednn(states, weight, bias), functional.linear(states, weight, bias)),
            (_onednn(gradient, weight.t()), gradient @ weight),
            (_onednn(gradient.t(), states.t()), gradient.t() @ states),
            (_onednn(states, _as_onednn_reads(weight, len(states)), bias), functional.linear(states, weight, bias)),
        )
    except (RuntimeError, AttributeError, TypeError):  # no such operator here, or another signature
        return False
    return all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in pairs)


def choose(model: nn.Module, tokens: int, guessed: int, linear: Linear, cache: Path) -> Timings:
    """Decide for this process where the products of a model's linear layers are computed.

    What was timed is kept, so that later cells start at once and a training that is taken up again goes on with the
    same arithmetic.

    Args:
        model: The model.
        tokens: Tokens that a step takes through the layers.
        guessed: Tokens that it takes through the vocabulary head.
        linear: What was asked for.
        cache: Holds ``linear/<hash>.json``.

    Returns:
        What was timed; empty where nothing had to be.
    """
    global _by_onednn
    _by_onednn = frozenset()
    if linear == "portable" or next(model.parameters()).device.type != "cpu" or not onednn_works():
        return {}
    rows = _rows_of_products(model, tokens, guessed)
    if linear == "onednn":
        _by_onednn = frozenset(rows)
        return {}
    timings = _timed_once(rows, cache)
    _by_onednn = frozenset(one for one, by in timings.items() if by["onednn"] > _MARGIN * by["portable"])
    return timings


def chosen() -> list[Product]:
    """Return the products that oneDNN computes in this process."""
    return sorted(_by_onednn)


def _rows_of_products(model: nn.Module, tokens: int, guessed: int) -> dict[Product, int]:
    """Return how many rows each product of a model has; rounded, so that studies of like size share their timings."""
    embeddings = getattr(model, "get_output_embeddings", lambda: None)()
    found = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            is_head = module is embeddings
            rows = 1 << max((guessed if is_head else tokens) - 1, 1).bit_length()
            for product in PRODUCTS:
                in_pieces = is_head and product != "inference"
                outputs = min(module.out_features, PIECE) if in_pieces else module.out_features
                found[product, outputs, module.in_features] = rows
    return found


def _timed_once(rows: Mapping[Product, int], cache: Path) -> Timings:
    from winnow.data.cache import intact, published
    from winnow.data.fingerprint import fingerprint

    threads = torch.get_num_threads()
    machine = [
        platform.processor(),
        platform.node(),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        threads,
    ]
    folder = cache / "linear" / fingerprint(machine, sorted((list(one), count) for one, count in rows.items()))
    if not intact(folder):
        timings = [[*one, timed(one, count)] for one, count in rows.items()]
        with published(folder) as draft:
            draft.mkdir()
            (draft / "timings.json").write_text(json.dumps(timings, indent=1) + "\n", encoding="utf-8")
    timings = json.loads((folder / "timings.json").read_text("utf-8"))
    return {(name, outputs, inputs): by for name, outputs, inputs, by in timings}


def timed(product: Product, rows: int) -> dict[str, float]:
    """Return 10**9 floating point operations a second of a product of so many rows, by library; they take turns."""
    name, outputs, inputs = product
    states, weight, gradient = torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(rows, outputs)
    portable, onednn = PRODUCTS[name](states, weight, gradient)
    best = {"portable": float("inf"), "onednn": float("inf")}
    for repeat in range(_REPEATS + 1):
        for library, compute in (("portable", portable), ("onednn", onednn)):
            begun = time.perf_counter()
            compute()
            if repeat:  # the first warms up
                best[library] = min(best[library], time.perf_counter() - begun)
    return {library: round(2e-9 * rows * outputs * inputs / seconds, 1) for library, seconds in best.items()}


_Pair = tuple[Callable[[], Tensor], Callable[[], Tensor]]

PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], _Pair]] = {
    "forward": lambda x, w, g: (lambda: output(x, w, None, False), lambda: output(x, w, None, True)),
    "input_gradient": lambda x, w, g: (lambda: input_gradient(g, w, False), lambda: input_gradient(g, w, True)),
    "weight_gradient": lambda x, w, g: (lambda: weight_gradient(g, x, False), lambda: weight_gradient(g, x, True)),
    "inference": lambda x, w, g: (
        lambda: functional.linear(x, w),
        functools.partial(_onednn, x, _as_onednn_reads(w, len(x))),
    ),
}
"""How PyTorch and how oneDNN compute a product from states, weights and the gradient of what the layer gives."""
