"""Restore a process's global state after each cell, so that one cell does not affect later cells."""

from __future__ import annotations

import functools
import gc
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def preserve_process_state() -> Iterator[None]:
    """Restore the process's global state at the end of the block, and free memory.

    The state is the environment, the working directory, the random number generators, the warning filters, and torch's
    deterministic mode, default dtype, matmul precision, number of threads and gradient mode.
    """
    import numpy as np
    import torch

    environment, folder = dict(os.environ), Path.cwd()
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    dtype, precision, threads = torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.get_num_threads()
    gradients = torch.is_grad_enabled()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(gradients)
        gc.collect()
        _freeze_loaded_objects()
        torch.cuda.empty_cache()  # has no effect if CUDA is not used


@functools.cache
def _freeze_loaded_objects() -> None:
    """Exclude the millions of objects that exist after the first cell from later garbage collections."""
    gc.freeze()
