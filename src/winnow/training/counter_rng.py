"""Random numbers as a pure function of what they are for, and of nothing else.

A draw is the hash of a key and a counter, so it does not depend on batch, order, rank or what was drawn
before. The hash is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"):
the draw at counter ``c`` is the ``c``-th output of the generator seeded with the key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInts = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: npt.NDArray[np.integer] | int) -> UInts:
    """Return the first output of SplitMix64 for each seed, modulo 2**64; at least one-dimensional.

    >>> hex(mix(0)[0])
    '0xe220a8397b1dcdaf'
    """
    state = _unsigned(values) + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def key(*parts: npt.NDArray[np.integer] | int) -> UInts:
    """Return a hash of the parts in their order; arrays are broadcast against each other."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mix(state ^ _unsigned(part))
    return state


def uniform(keys: UInts, counters: npt.NDArray[np.integer] | int) -> Floats:
    """Return draws in [0, 1) with 53 random bits, one for each pair of key and counter."""
    bits = mix(keys + _unsigned(counters) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _unsigned(values: npt.NDArray[np.integer] | int) -> UInts:
    if isinstance(values, int):
        return np.array([values % 2**64], dtype=np.uint64)
    return np.atleast_1d(values).astype(np.uint64, copy=False)
