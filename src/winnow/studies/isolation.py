"""Leaving a process as it was found, so that no cell feels which cells ran before it."""

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
def unchanged_process() -> Iterator[None]:
    """Put back, at the end, what a training changes for the whole process, and free the memory it took.

    That is the environment, the working directory, the states of all random number generators, torch's deterministic
    mode, default type, precision and threads, and the filters of warnings.
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
        _set_aside()
        torch.cuda.empty_cache()  # does nothing where CUDA was not used


@functools.cache
def _set_aside() -> None:
    """Take what the first cell has loaded out of the garbage collector's sight: it is millions of objects that stay."""
    gc.freeze()
