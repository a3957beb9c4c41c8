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

_REPEATS = 3

_by_onednn: frozenset[Product] = frozenset()

_laid_out: dict[Tensor, Tensor] | None = None


def linear(layer: Any, states: Tensor, tied: Tied | None = None) -> Tensor:
    """Return what a linear layer makes of states of shape ``(tokens, inputs)``.

    Under autocast the factors of its products are rounded as PyTorch rounds them. With `tied` the gradient of its
    weights goes there, for :func:`embed` to hand on.
    """
    if states.device.type != "cpu":
        return functional.linear(states, layer.weight, layer.bias)
    factors = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype
    if _laid_out is not None and factors is torch.float32 and _takes_onednn("inference", layer.weight, states):
        if layer.weight not in _laid_out:
            _laid_out[layer.weight] = _as_onednn_reads(layer.weight, len(states))
        return _onednn(states, _laid_out[layer.weight], layer.bias)
    made: Tensor = _Linear.apply(states, layer.weight, layer.bias, factors, tied)  # type: ignore[no-untyped-call]
    return made


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


def embed(words: nn.Embedding, ids: Tensor, tied: Tied) -> Tensor:
    """Return the embeddings of words whose weights are those of the layer that :func:`linear` was given `tied` for.

    Autograd would make the gradient of either use, each as large as the vocabulary, and a third for their sum. Going
    back, the vocabulary head comes first, so its gradient is kept and the few rows of the embedding are added there.
    """
    made: Tensor = _Embedding.apply(words.weight, ids, words.padding_idx, tied)  # type: ignore[no-untyped-call]
    return made


Tied = list[Tensor]
"""Holds the gradient of tied weights between the two places that use them."""


class _Linear(torch.autograd.Function):
    """A linear layer whose products go where they are fastest."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, factors: torch.dtype, tied: Tied | None
    ) -> Tensor:
        ctx.dtypes, ctx.has_bias, ctx.tied = (states.dtype, weight.dtype), bias is not None, tied
        states, weight, bias = states.to(factors), weight.to(factors), None if bias is None else bias.to(factors)
        ctx.save_for_backward(states, weight)
        if _takes_onednn("forward", weight, states):
            return _onednn(states, weight, bias)
        return functional.linear(states, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        states_dtype, weight_dtype = ctx.dtypes
        of_states = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            takes = _takes_onednn("input_gradient", weight, gradient)
            of_states = (_onednn(gradient, weight.t()) if takes else gradient @ weight).to(states_dtype)
        if ctx.needs_input_grad[1]:
            takes = _takes_onednn("weight_gradient", weight, gradient)
            of_weight = (_onednn(gradient.t(), states.t()) if takes else gradient.t() @ states).to(weight_dtype)
            if ctx.tied is not None:
                ctx.tied.append(of_weight)
                of_weight = None
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum(0).to(weight_dtype)
        return of_states, of_weight, of_bias, None, None


class _Embedding(torch.autograd.Function):
    """An embedding that adds its gradient to that which the head of the same weights has left."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding: int | None, tied: Tied) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.padding, ctx.tied = padding, tied
        return functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        if ctx.padding is not None:  # as in the library, a padding token leaves its weights alone
            gradient = gradient.masked_fill(ids.eq(ctx.padding)[:, None], 0)
        return ctx.tied.pop().index_add_(0, ids, gradient), None, None, None


def _takes_onednn(product: str, weight: Tensor, rows: Tensor) -> bool:
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
            rows = guessed if module is embeddings else tokens
            for product in PRODUCTS:
                found[product, module.out_features, module.in_features] = 1 << max(rows - 1, 1).bit_length()
    return found


def _timed_once(rows: Mapping[Product, int], cache: Path) -> Timings:
    from winnow.data.cache import published
    from winnow.data.fingerprint import fingerprint

    threads = torch.get_num_threads()
    machine = [
        platform.processor(),
        platform.node(),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        threads,
    ]
    file = cache / "linear" / f"{fingerprint(machine, sorted((list(one), count) for one, count in rows.items()))}.json"
    if not file.exists():
        timings = [[*one, timed(one, count)] for one, count in rows.items()]
        with published(file) as draft:
            draft.write_text(json.dumps(timings, indent=1) + "\n", encoding="utf-8")
    return {(name, outputs, inputs): by for name, outputs, inputs, by in json.loads(file.read_text("utf-8"))}


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
    "forward": lambda x, w, g: (lambda: functional.linear(x, w), lambda: _onednn(x, w)),
    "input_gradient": lambda x, w, g: (lambda: g @ w, lambda: _onednn(g, w.t())),
    "weight_gradient": lambda x, w, g: (lambda: g.t() @ x, lambda: _onednn(g.t(), x.t())),
    "inference": lambda x, w, g: (
        lambda: functional.linear(x, w),
        functools.partial(_onednn, x, _as_onednn_reads(w, len(x))),
    ),
}
"""How PyTorch and how oneDNN compute a product from states, weights and the gradient of what the layer gives."""
