"""How a training computes: settings of this process, made once before the first number."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import WinnowError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from winnow.training.forward.linear import Linear


def set_up(
    model: PreTrainedModel,
    device: torch.device,
    tokens: int,
    guessed: int,
    cache: Path,
    linear: Linear = "auto",
    tf32: bool = False,
    compiled: bool = False,
) -> dict[str, Any]:
    """Decide for this process how it computes, and return what was decided.

    Args:
        model: The model, on the CPU still.
        device: Where it will be trained.
        tokens: Tokens that a step takes through the layers.
        guessed: Tokens that it takes through the vocabulary head.
        cache: Keeps what was timed.
        linear: Who computes the products of linear layers; see :mod:`winnow.training.forward.linear`. It is about CPUs.
        tf32: Let CUDA round the factors of float32 products to 10 bits, as NVIDIA's TensorFloat-32 does.
        compiled: Compile the layers; it is about CUDA.

    Raises:
        WinnowError: The layers are to be compiled for a CPU.
    """
    import torch

    from winnow.training.forward import efficient
    from winnow.training.forward import linear as linears

    if compiled and device.type != "cuda":
        raise WinnowError(
            "Compiling gains nothing on a CPU: 40 s to compile and no faster step. Leave it out, or train on CUDA "
            "(trainer=gpu).",
            key="arithmetic.compile",
        )
    if device.type == "cpu":
        _keep_freed_memory()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    timings = linears.choose(model, tokens, guessed, linear if device.type == "cpu" else "portable", cache)
    efficient.compile_layers(compiled)
    if compiled:
        model.compile(dynamic=True)  # what the reference forward calls
    return {
        "device": device.type,
        "tf32": tf32,
        "compile": compiled,
        "linear": linear,
        "onednn": [" ".join(map(str, product)) for product in linears.chosen()],
        "gflops": {" ".join(map(str, product)): by for product, by in timings.items()},
    }


def _keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next step, where it is glibc.

    A step asks for hundreds of MB and frees them; given back to Linux, each page of 4 kB costs a fault when it is asked
    for again, 10% of a bf16 step in all. The process stays at its peak.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if (set_option := getattr(library, "mallopt", None)) is not None:
        set_option(_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes from its heap; given by hand, it stays
        set_option(_TRIM_THRESHOLD, 2**31 - 1)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names that glibc's `malloc.h` gives these options."""
