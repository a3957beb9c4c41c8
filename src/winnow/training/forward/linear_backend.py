"""Choose the matmul backend for linear layers on CPUs: PyTorch's default, or oneDNN if it is faster.

PyTorch computes float32 matmuls with MKL, which is optimized for Intel processors. The bundled oneDNN library can also
compute them, but only through a private operator. The operator is therefore checked against the default backend, and
timed, before it is used. Both backends compute the same float32 sums, in a different order.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from winnow.errors import WinnowError
from winnow.machine import processor_name

LinearBackend = Literal["auto", "onednn", "portable"]
"""``portable`` is PyTorch's default backend. ``onednn`` uses oneDNN if this build of PyTorch supports it. ``auto``
times both backends on this machine and uses the faster one for each matmul."""

Matmul = tuple[str, int, int]
"""A matmul of a linear layer: its kind, the layer's number of outputs and its number of inputs. Kinds are ``forward``,
``input_gradient``, ``weight_gradient``, and ``inference`` (a forward pass within :func:`prepacked_weights`)."""

MatmulRates = dict[Matmul, dict[str, float]]
"""The rate of each matmul in GFLOP/s on each backend (``portable`` and ``onednn``)."""

_MIN_SPEEDUP = 1.03
"""oneDNN is used only if it is faster by at least this factor, so that timing noise does not determine the backend."""

VOCAB_CHUNK_SIZE = 1024
"""Vocabulary rows per chunk in :mod:`winnow.training.forward.vocab_head`; for DistilBERT, 1.5 MB of bf16 weights."""

_TIMING_REPEATS = 3

_onednn_matmuls: frozenset[Matmul] = frozenset()

_prepacked_weight_cache: dict[Tensor, Tensor] | None = None


def apply_linear(layer: Any, states: Tensor) -> Tensor:
    """Return the output of a linear layer.

    Under autocast, the inputs of the matmul are cast to lower precision, as in PyTorch.

    Args:
        layer: The linear layer.
        states: The input, shape ``(tokens, inputs)``.

    Returns:
        The output, shape ``(tokens, outputs)``.
    """
    if states.device.type != "cpu":
        return functional.linear(states, layer.weight, layer.bias)
    output = apply_prepacked_linear(layer, states)
    if output is None:
        output = _LinearFunction.apply(  # type: ignore[no-untyped-call]
            states, layer.weight, layer.bias, matmul_dtype(states)
        )
    return output


def matmul_dtype(states: Tensor) -> torch.dtype:
    """Return the data type to which PyTorch casts the inputs of a matmul on the CPU."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else states.dtype


def apply_prepacked_linear(layer: Any, states: Tensor) -> Tensor | None:
    """Return the output of a layer computed with prepacked weights, or ``None`` if they cannot be used.

    Prepacked weights are used only within :func:`prepacked_weights`, in float32, and if the layer's backend is oneDNN.
    """
    if _prepacked_weight_cache is None or matmul_dtype(states) is not torch.float32:
        return None
    if not uses_onednn("inference", layer.weight, states):
        return None
    if layer.weight not in _prepacked_weight_cache:
        _prepacked_weight_cache[layer.weight] = _prepack_weight(layer.weight, len(states))
    return _apply_onednn(states, _prepacked_weight_cache[layer.weight], layer.bias)


@contextmanager
def prepacked_weights() -> Iterator[None]:
    """Run inference with weights that are converted to oneDNN's internal layout once, instead of in every matmul.

    The weights must not change within the context. The converted copies need as much memory as the weights.
    """
    global _prepacked_weight_cache
    previous, _prepacked_weight_cache = _prepacked_weight_cache, {}
    try:
        with torch.inference_mode():
            yield
    finally:
        _prepacked_weight_cache = previous


class _LinearFunction(torch.autograd.Function):
    """A linear layer that computes each matmul with the backend selected for it."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        ctx.dtypes, ctx.has_bias = (states.dtype, weight.dtype), bias is not None
        states, weight, bias = states.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        ctx.save_for_backward(states, weight)
        return compute_output(states, weight, bias, uses_onednn("forward", weight, states))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        states_dtype, weight_dtype = ctx.dtypes
        states_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            by_onednn = uses_onednn("input_gradient", weight, gradient)
            states_gradient = compute_input_gradient(gradient, weight, by_onednn).to(states_dtype)
        if ctx.needs_input_grad[1]:
            by_onednn = uses_onednn("weight_gradient", weight, gradient)
            weight_gradient = compute_weight_gradient(gradient, states, by_onednn).to(weight_dtype)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            bias_gradient = gradient.sum(0).to(weight_dtype)
        return states_gradient, weight_gradient, bias_gradient, None


def compute_output(states: Tensor, weight: Tensor, bias: Tensor | None, by_onednn: bool) -> Tensor:
    """Return the output of a linear layer, computed by oneDNN or by PyTorch's default backend."""
    return _apply_onednn(states, weight, bias) if by_onednn else functional.linear(states, weight, bias)


def compute_input_gradient(gradient: Tensor, weight: Tensor, by_onednn: bool) -> Tensor:
    """Return the gradient of a layer's input, given the gradient of its output."""
    return _apply_onednn(gradient, weight.t()) if by_onednn else gradient @ weight


def compute_weight_gradient(gradient: Tensor, states: Tensor, by_onednn: bool) -> Tensor:
    """Return the gradient of a layer's weights, given the gradient of its output."""
    return _apply_onednn(gradient.t(), states.t()) if by_onednn else gradient.t() @ states


def uses_onednn(kind: str, weight: Tensor, rows: Tensor) -> bool:
    """Return whether the given kind of matmul runs on oneDNN for a layer with the given weights."""
    if not _onednn_matmuls or rows.dtype is not torch.float32 or not len(rows):
        return False
    return (kind, weight.shape[0], weight.shape[1]) in _onednn_matmuls


def _prepack_weight(weight: Tensor, rows: int) -> Tensor:
    prepacked: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return prepacked


def _apply_onednn(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return output


@functools.cache
def is_onednn_usable() -> bool:
    """Return whether PyTorch's private oneDNN operator exists in this build and gives correct results."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = torch.Generator().manual_seed(0)
    states, weight, bias = (torch.randn(size, generator=generator) for size in ((5, 16), (24, 16), (24,)))
    gradient = torch.randn(5, 24, generator=generator)
    prepacked = functools.partial(_prepack_weight, weight, len(states))
    try:
        pairs = (
            (_apply_onednn(states, weight, bias), functional.linear(states, weight, bias)),
            (_apply_onednn(gradient, weight.t()), gradient @ weight),
            (_apply_onednn(gradient.t(), states.t()), gradient.t() @ states),
            (_apply_onednn(states, prepacked(), bias), functional.linear(states, weight, bias)),
        )
    except (RuntimeError, AttributeError, TypeError):  # the operator is missing or has a different signature
        return False
    return all(torch.allclose(actual, expected, atol=1e-5) for actual, expected in pairs)


def choose_backends(
    model: nn.Module,
    tokens: int,
    masked_tokens: int,
    backend: LinearBackend,
    cache: Path,
    recorded_matmuls: Sequence[str] | None = None,
) -> MatmulRates:
    """Choose the backend for each matmul in a model's linear layers, for the current process.

    Timings are cached, so later runs on this machine start immediately and use the same backends.

    Args:
        model: The model.
        tokens: Tokens per step in the encoder layers.
        masked_tokens: Tokens per step in the vocabulary head.
        backend: The backend to use.
        cache: The cache folder; timings are stored in ``linear/<hash>/timings.json``.
        recorded_matmuls: The matmuls that ran on oneDNN in an earlier run, as returned by
            :func:`list_onednn_matmuls`; used only with ``auto``. If given, the backends are not timed, so that the
            earlier run is repeated exactly.

    Returns:
        The measured rates; empty unless ``backend`` is ``auto``, oneDNN is usable on the device, and
        ``recorded_matmuls`` is not given.
    """
    global _onednn_matmuls
    _onednn_matmuls = frozenset()
    if backend == "portable" or next(model.parameters()).device.type != "cpu" or not is_onednn_usable():
        return {}
    matmul_rows = _count_matmul_rows(model, tokens, masked_tokens)
    if backend == "onednn":
        _onednn_matmuls = frozenset(matmul_rows)
        return {}
    if recorded_matmuls is not None:
        _onednn_matmuls = frozenset(matmul for matmul in matmul_rows if format_matmul(matmul) in set(recorded_matmuls))
        return {}
    rates = _load_or_measure_rates(matmul_rows, cache)
    _onednn_matmuls = frozenset(
        matmul for matmul, by_backend in rates.items() if by_backend["onednn"] > _MIN_SPEEDUP * by_backend["portable"]
    )
    return rates


def list_onednn_matmuls() -> list[str]:
    """Return the matmuls that run on oneDNN in the current process, each as ``KIND OUTPUTS INPUTS``."""
    return [format_matmul(matmul) for matmul in sorted(_onednn_matmuls)]


def format_matmul(matmul: Matmul) -> str:
    """Return the kind, the outputs and the inputs of a matmul as text.

    >>> format_matmul(("forward", 256, 64))
    'forward 256 64'
    """
    return " ".join(map(str, matmul))


def _count_matmul_rows(model: nn.Module, tokens: int, masked_tokens: int) -> dict[Matmul, int]:
    """Return the number of rows of each matmul, rounded up to a power of two.

    The rounding lets studies of similar size share cached timings.
    """
    output_embeddings = getattr(model, "get_output_embeddings", lambda: None)()
    matmul_rows = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            is_head = module is output_embeddings
            rows = 1 << max((masked_tokens if is_head else tokens) - 1, 1).bit_length()
            for kind in MATMUL_FUNCTIONS:
                is_chunked = is_head and kind != "inference"
                outputs = min(module.out_features, VOCAB_CHUNK_SIZE) if is_chunked else module.out_features
                matmul_rows[kind, outputs, module.in_features] = rows
    return matmul_rows


def _load_or_measure_rates(matmul_rows: Mapping[Matmul, int], cache: Path) -> MatmulRates:
    from winnow.data.cache import is_intact, publish_folder
    from winnow.data.fingerprint import fingerprint

    machine = [
        processor_name(),
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
    ]
    cache_key = fingerprint(machine, sorted((list(matmul), rows) for matmul, rows in matmul_rows.items()))
    folder = cache / "linear" / cache_key
    if not is_intact(folder):
        rates = {matmul: time_matmul(matmul, rows) for matmul, rows in matmul_rows.items()}
        entries = [[*matmul, by_backend] for matmul, by_backend in rates.items()]
        try:
            with publish_folder(folder) as draft:
                draft.mkdir()
                (draft / "timings.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        except WinnowError:  # the folder is not writable, so the timings are not cached
            return rates
    # Read the timings back: if another process published its timings first, both processes use those.
    entries = json.loads((folder / "timings.json").read_text("utf-8"))
    return {(kind, outputs, inputs): by_backend for kind, outputs, inputs, by_backend in entries}


def time_matmul(matmul: Matmul, rows: int) -> dict[str, float]:
    """Return the rate of a matmul with a given number of rows on each backend, in GFLOP/s.

    The backends are timed alternately.
    """
    kind, outputs, inputs = matmul
    states, weight, gradient = torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(rows, outputs)
    portable, onednn = MATMUL_FUNCTIONS[kind](states, weight, gradient)
    best_seconds = {"portable": float("inf"), "onednn": float("inf")}
    for repeat in range(_TIMING_REPEATS + 1):
        for backend, compute in (("portable", portable), ("onednn", onednn)):
            start = time.perf_counter()
            compute()
            if repeat:  # the first iteration is a warmup
                best_seconds[backend] = min(best_seconds[backend], time.perf_counter() - start)
    return {backend: round(2e-9 * rows * outputs * inputs / seconds, 1) for backend, seconds in best_seconds.items()}


_BackendPair = tuple[Callable[[], Tensor], Callable[[], Tensor]]

MATMUL_FUNCTIONS: dict[str, Callable[[Tensor, Tensor, Tensor], _BackendPair]] = {
    "forward": lambda x, w, g: (
        lambda: compute_output(x, w, None, False),
        lambda: compute_output(x, w, None, True),
    ),
    "input_gradient": lambda x, w, g: (
        lambda: compute_input_gradient(g, w, False),
        lambda: compute_input_gradient(g, w, True),
    ),
    "weight_gradient": lambda x, w, g: (
        lambda: compute_weight_gradient(g, x, False),
        lambda: compute_weight_gradient(g, x, True),
    ),
    "inference": lambda x, w, g: (
        lambda: functional.linear(x, w),
        functools.partial(_apply_onednn, x, _prepack_weight(w, len(x))),
    ),
}
"""For each kind of matmul, a function of a layer's input, weights and output gradient. It returns two functions that
compute the matmul: the first with PyTorch's default backend, and the second with oneDNN."""
