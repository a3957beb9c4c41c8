"""Which items of a contrast are alike: crossed factors, such as template and slot filling, or clusters of rows.

A contrast averages over items. Items that share a template, a slot filling or a cluster are correlated, so the
variance of that average has one term per factor. The terms are quadratic forms of a vector over the items, and the
same forms serve the difference of the arms and the deviations of single seeds.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

FEWEST_LEVELS = 5
"""Levels below which a factor is fixed: so few templates do not show how templates vary."""


@dataclass(frozen=True)
class Factor:
    """A partition of the items into levels, with the share of the total weight that each level carries."""

    name: str
    codes: Codes
    shares: Array

    @property
    def levels(self) -> int:
        """The number of levels."""
        return self.shares.size

    @property
    def df(self) -> float:
        """Degrees of freedom of :meth:`variance`; ``levels - 1`` if all levels carry the same weight.

        Unequal levels count for fewer: Satterthwaite's degrees of freedom if each level's effect has the same variance
        (Carter, Schnepel and Steigerwald 2017, Review of Economics and Statistics 99:698).
        """
        squares = np.square(self.shares)
        return max(1.0, float(squares.sum() ** 2 / np.square(squares).sum()) - 1)

    def variance(self, contributions: Array) -> float:
        """Return the estimated variance of a weighted mean, from the items' contributions to it.

        The sums over the levels are squared and added, times a correction that makes the estimate unbiased for random
        effects of the levels; it is ``levels / (levels - 1)`` if all levels carry the same weight.

        Args:
            contributions: Centered values times weights over the total weight, of shape (..., items).
        """
        sums = contributions @ self._indicator
        p = self.shares
        spread = float(np.square(p).sum())
        correction = spread / (spread * (1 + spread) - 2 * float((p**3).sum()))
        return correction * float(np.square(sums).sum())

    @functools.cached_property
    def _indicator(self) -> Any:
        from scipy.sparse import csr_array

        size = self.codes.size
        return csr_array((np.ones(size), (np.arange(size), self.codes)), shape=(size, self.levels))


@dataclass(frozen=True)
class ItemStructure:
    """The random factors of the items, and the factors with too few levels to be random.

    ``factors`` is empty if the items are fixed: a single item, or prompts whose factors all have too few levels.
    ``assumed_independent`` is true if items count as independent and no factor tells any of them apart.
    """

    weights: Array
    factors: tuple[Factor, ...]
    fixed: Mapping[str, int] = field(default_factory=dict)
    assumed_independent: bool = False

    def contributions(self, values: Array) -> Array:
        """Return centered values times weights over the total weight."""
        total = self.weights.sum()
        mean = (values * self.weights).sum(axis=-1, keepdims=True) / total
        centered: Array = (values - mean) * self.weights / total
        return centered

    @functools.cached_property
    def residual_df(self) -> float:
        """Degrees of freedom that an additive fit of several factors leaves; 0 for fewer than two factors."""
        return float(self.weights.size - self._basis.shape[1]) if len(self.factors) > 1 else 0.0

    def residual_variance(self, values: Array) -> float:
        """Return the part of a weighted mean's variance that several crossed factors all contain.

        It is the mean square of what an additive fit of the factors leaves, over the number of items; 0 if there are
        fewer than two factors, or if the fit leaves nothing.
        """
        if self.residual_df < 1:
            return 0.0
        roots = np.sqrt(self.weights)
        scaled = values * roots
        left = (scaled - (scaled @ self._basis) @ self._basis.T) * roots
        return float(np.square(left).sum()) / self.residual_df / self.weights.size

    @functools.cached_property
    def _basis(self) -> Array:
        """An orthonormal basis of the additive fits, in coordinates scaled by the roots of the weights."""
        columns = [np.eye(factor.levels)[factor.codes] for factor in self.factors]
        design = np.hstack(columns) * np.sqrt(self.weights)[:, None]
        left, values, _ = np.linalg.svd(design, full_matrices=False)
        basis: Array = left[:, values > 1e-9 * values[0]]
        return basis


def structure_of(
    weights: Array, crossed: Mapping[str, Sequence[object]], clusters: Mapping[str, Sequence[object]]
) -> ItemStructure:
    """Return the structure of items, given a label of each item for each factor.

    A factor with fewer than ``FEWEST_LEVELS`` levels is fixed. A factor that is nested in another one is left out,
    because the coarser one covers it. Items without a label are a level each.

    Args:
        weights: The items' weights.
        crossed: Factors that determine the items together, such as template and slots. If all are fixed, so are the
            items, and the contrast is about these items only.
        clusters: Factors in which items are nested, such as the source of a row. Items that no random cluster holds
            are independent.
    """
    known = {name: _codes(labels) for name, labels in (*crossed.items(), *clusters.items())}
    sizes = {name: int(codes.max()) + 1 for name, codes in known.items()}
    fixed = {name: size for name, size in sizes.items() if size < FEWEST_LEVELS}
    names = [name for name in known if name not in fixed]
    kept = [name for name in names if not any(_covers(known, sizes, other, name, names) for other in names)]
    factors = tuple(_factor(name, known[name], weights) for name in kept)
    assumed = False
    if not factors and not crossed and weights.size > 1:
        factors = (_factor("items", np.arange(weights.size), weights),)
        assumed = max(sizes.values(), default=1) == 1
    return ItemStructure(weights, factors, fixed, assumed)


def _factor(name: str, codes: Codes, weights: Array) -> Factor:
    return Factor(name, codes, np.bincount(codes, weights=weights) / weights.sum())


def _codes(labels: Sequence[object]) -> Codes:
    """Number the labels from 0; ``None`` is a level for each item."""
    numbers: dict[object, int] = {}
    keys = [("item", i) if label is None else ("level", label) for i, label in enumerate(labels)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _covers(known: Mapping[str, Codes], sizes: Mapping[str, int], other: str, name: str, order: Sequence[str]) -> bool:
    """Return whether each level of a factor lies within one level of another; of equal factors the first stays."""
    if other == name:
        return False
    pairs = len(np.unique(np.stack([known[name], known[other]]), axis=1).T)
    nested = pairs == sizes[name]
    return nested and (sizes[other] < sizes[name] or order.index(other) < order.index(name))
