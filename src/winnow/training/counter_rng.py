"""A counter-based random number generator: every draw is a pure function of a key and a counter.

A draw does not depend on the batch, the row order, the rank or earlier draws. The generator is SplitMix64
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"): the draw at counter ``c`` is
output ``c`` of a generator seeded with the key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Float64Array = npt.NDArray[np.float64]

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


def splitmix64(seeds: npt.NDArray[np.integer] | int) -> UInt64Array:
    """Return the first SplitMix64 output for each seed (modulo 2**64), as an array with at least one dimension.

    >>> hex(splitmix64(0)[0])
    '0xe220a8397b1dcdaf'
    """
    state = _to_uint64(seeds) + _GOLDEN_GAMMA
    state = (state ^ (state >> np.uint64(30))) * _MULTIPLIER_1
    state = (state ^ (state >> np.uint64(27))) * _MULTIPLIER_2
    return state ^ (state >> np.uint64(31))


def derive_key(*components: npt.NDArray[np.integer] | int) -> UInt64Array:
    """Return an order-dependent hash of the components. Arrays are broadcast against each other."""
    state = np.zeros(1, dtype=np.uint64)
    for component in components:
        state = splitmix64(state ^ _to_uint64(component))
    return state


def draw_uniform(keys: UInt64Array, counters: npt.NDArray[np.integer] | int) -> Float64Array:
    """Return one uniform draw in [0, 1) with 53 random bits for each (key, counter) pair."""
    bits = splitmix64(keys + _to_uint64(counters) * _GOLDEN_GAMMA)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _to_uint64(values: npt.NDArray[np.integer] | int) -> UInt64Array:
    if isinstance(values, int):
        return np.array([values % 2**64], dtype=np.uint64)
    return np.atleast_1d(values).astype(np.uint64, copy=False)
