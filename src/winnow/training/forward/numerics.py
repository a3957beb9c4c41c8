"""Configure process-wide numerical settings: matmul backends, TF32, compilation and memory allocation."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from winnow.errors import WinnowError
from winnow.machine import user_cache_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from winnow.training.forward.linear_backend import LinearBackend

MIN_THREADED_PARAMETERS: Final = 10_000_000
"""The number of parameters in linear layers from which a model is trained with several threads."""


def configure_numerics(
    model: PreTrainedModel,
    device: torch.device,
    tokens: int,
    masked_tokens: int,
    linear: LinearBackend = "auto",
    tf32: bool = False,
    compiled: bool = False,
    onednn_matmuls: Sequence[str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Configure the numerical settings of the current process, and return the selected settings by name.

    Call this function before the first forward pass.

    Args:
        model: The model, which must still be on the CPU.
        device: The device on which the model is trained.
        tokens: Tokens per step in the encoder layers.
        masked_tokens: Tokens per step in the vocabulary head.
        linear: The matmul backend for linear layers on CPUs; see :mod:`winnow.training.forward.linear_backend`.
        tf32: Whether float32 matmuls on CUDA may use TensorFloat-32, which rounds their inputs to 10 mantissa bits.
        compiled: Whether to compile the layers; CUDA only.
        onednn_matmuls: The matmuls that ran on oneDNN in the run that is repeated; used only with ``auto``. If `None`,
            the backends are timed, or the timings in the user's cache folder are used.
        threads: Threads of the process if the device is a CPU. `None` uses one thread for small models, and all threads
            of the process for other models.

    Raises:
        WinnowError: If ``compiled`` is true, but the device is not a CUDA device.
    """
    import torch

    from winnow.training.forward import efficient_forward, linear_backend

    if compiled and device.type != "cuda":
        raise WinnowError(
            f"expected false on {device.type}, got true. Compilation takes 40 s on a CPU and does not make steps "
            "faster. Set this option to false, or train on CUDA (trainer=gpu).",
            key="numerics.compile",
        )
    if device.type == "cpu":
        _disable_memory_trimming()
        default_threads = _default_threads()
        torch.set_num_threads(threads or (1 if is_small(model) else default_threads))
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    backend = linear if device.type == "cpu" else "portable"
    timings = linear_backend.choose_backends(model, tokens, masked_tokens, backend, user_cache_folder(), onednn_matmuls)
    efficient_forward.set_layer_compilation(compiled)
    if compiled:
        model.compile(dynamic=True)  # for the reference forward pass
    return {
        "device": device.type,
        "tf32": tf32,
        "compile": compiled,
        "threads": torch.get_num_threads(),
        "linear": linear,
        "onednn": linear_backend.list_onednn_matmuls(),
        "gflops": {linear_backend.format_matmul(matmul): rates for matmul, rates in timings.items()},
    }


def is_small(model: PreTrainedModel) -> bool:
    """Return whether the linear layers of a model are too small to benefit from several threads."""
    from torch import nn

    sizes = (module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))
    return sum(sizes) < MIN_THREADED_PARAMETERS


@functools.cache
def _default_threads() -> int:
    """Return the number of threads of this process before it was changed for a model."""
    import torch

    return torch.get_num_threads()


def _disable_memory_trimming() -> None:
    """Make glibc keep freed memory in the process instead of returning it to the operating system.

    Each step allocates and frees hundreds of MB. If this memory is returned to Linux, every 4 kB page causes a page
    fault when it is next used; the page faults take 10% of the time of a bf16 step. The drawback is that memory use
    stays at its peak.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if (set_option := getattr(library, "mallopt", None)) is not None:
        # 32 MB is the maximum that glibc accepts. Setting a threshold explicitly disables its dynamic adjustment.
        set_option(_M_MMAP_THRESHOLD, 32 << 20)
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Option numbers from glibc's `malloc.h`."""
