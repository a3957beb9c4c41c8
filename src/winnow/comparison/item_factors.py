"""The item factors of a contrast: crossed factors such as template and slot filling, or clusters of rows.

A contrast averages over items. Items that share a template, a slot filling or a cluster are correlated, so the variance
of the average has one term per factor. Each term is a quadratic form of a vector over the items. The vector is either
the difference between the arms or the deviation of a single seed.
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

MIN_LEVELS = 5
"""The minimum number of levels of a random factor. With fewer levels, the variance cannot be estimated well."""


@dataclass(frozen=True)
class Factor:
    """A partition of the items into levels.

    ``codes`` contains the level of each item. ``weight_fractions`` contains each level's fraction of the total weight.
    """

    name: str
    codes: Codes
    weight_fractions: Array

    @property
    def levels(self) -> int:
        """The number of levels."""
        return self.weight_fractions.size

    @property
    def df(self) -> float:
        """Degrees of freedom of :meth:`variance`; ``levels - 1`` if all levels have the same weight.

        Unequal weights reduce the degrees of freedom, by Satterthwaite's formula for effects of equal variance (Carter,
        Schnepel and Steigerwald 2017, Review of Economics and Statistics 99:698).
        """
        squares = np.square(self.weight_fractions)
        return max(1.0, float(squares.sum() ** 2 / np.square(squares).sum()) - 1)

    def variance(self, contributions: Array) -> float:
        """Estimate the variance of a weighted mean from each item's contribution to the mean.

        The estimate is the sum of the squared level sums, times a correction that makes the estimate unbiased if the
        levels have random effects. The correction is ``levels / (levels - 1)`` if all levels have the same weight.

        Args:
            contributions: Centered values times weights, divided by the total weight, with shape (..., items).
        """
        return self.correction * float(np.square(self.sum_by_level(contributions)).sum())

    @property
    def correction(self) -> float:
        """The factor by which :meth:`variance` multiplies the sum of the squared level sums."""
        p = self.weight_fractions
        p2 = float(np.square(p).sum())
        return p2 / (p2 * (1 + p2) - 2 * float((p**3).sum()))

    def sum_by_level(self, contributions: Array) -> Array:
        """Sum contributions of shape (..., items) over the items of each level."""
        sums: Array = contributions @ self._indicator
        return sums

    @functools.cached_property
    def _indicator(self) -> Any:
        from scipy.sparse import csr_array

        size = self.codes.size
        return csr_array((np.ones(size), (np.arange(size), self.codes)), shape=(size, self.levels))


@dataclass(frozen=True)
class ItemStructure:
    """The weights of the items, and the factors that group similar items.

    Attributes:
        weights: The weights of the items.
        factors: The random factors. Empty if the items are fixed, that is, if there is only one item or if every factor
            of the prompts has too few levels.
        fixed: The factors that are fixed because they have too few levels, with their numbers of levels.
        assumed_independent: Whether the items are treated as independent because no factor was recorded.
    """

    weights: Array
    factors: tuple[Factor, ...]
    fixed: Mapping[str, int] = field(default_factory=dict)
    assumed_independent: bool = False

    def contributions(self, values: Array) -> Array:
        """Return each item's contribution to the variance: (value - mean) times weight, divided by the total weight."""
        total = self.weights.sum()
        mean = (values * self.weights).sum(axis=-1, keepdims=True) / total
        contributions: Array = (values - mean) * self.weights / total
        return contributions

    @functools.cached_property
    def residual_df(self) -> float:
        """Residual degrees of freedom of an additive fit of the factors; 0 if there are fewer than two factors."""
        return float(self.weights.size - self._basis.shape[1]) if len(self.factors) > 1 else 0.0

    def residual_variance(self, values: Array) -> float:
        """Return the part of a weighted mean's variance that is counted in the variance of every crossed factor.

        The result is the residual mean square of an additive fit of the factors, divided by the number of items. It is
        0 if there are fewer than two factors or if the fit has no residual degrees of freedom.
        """
        if self.residual_df < 1:
            return 0.0
        return float(np.square(self.residuals(values)).sum()) / self.residual_df / self.weights.size

    def residuals(self, values: Array) -> Array:
        """Return the weighted residuals of an additive fit of the factors to values of shape (..., items)."""
        roots = np.sqrt(self.weights)
        scaled = values * roots
        residuals: Array = (scaled - (scaled @ self._basis) @ self._basis.T) * roots
        return residuals

    @functools.cached_property
    def _basis(self) -> Array:
        """An orthonormal basis of the additive fits, scaled by the square roots of the weights."""
        return _compute_basis(tuple(factor.codes.tobytes() for factor in self.factors), self.weights.tobytes())


@functools.lru_cache(maxsize=8)  # the contrasts of a comparison have few different designs
def _compute_basis(factor_codes: tuple[bytes, ...], weights: bytes) -> Array:
    """Return :attr:`ItemStructure._basis` for the codes of each factor and the weights of the items."""
    codes = [np.frombuffer(data, dtype=np.int64) for data in factor_codes]
    columns = [np.eye(int(levels.max()) + 1)[levels] for levels in codes]
    design = np.hstack(columns) * np.sqrt(np.frombuffer(weights, dtype=np.float64))[:, None]
    left_vectors, singular_values, _ = np.linalg.svd(design, full_matrices=False)
    basis: Array = left_vectors[:, singular_values > 1e-9 * singular_values[0]]
    basis.flags.writeable = False
    return basis


def build_item_structure(
    weights: Array, crossed: Mapping[str, Sequence[object]], clusters: Mapping[str, Sequence[object]]
) -> ItemStructure:
    """Build the item structure from each item's label for every factor.

    Factors with fewer than ``MIN_LEVELS`` levels are fixed. If factors are nested, only the coarsest one is used. Each
    item without a label forms its own level.

    Args:
        weights: The weights of the items.
        crossed: Crossed factors of the items, such as template and slots. If all crossed factors are fixed, the items
            are also fixed, and a contrast does not generalize to other items.
        clusters: Factors in which the items are nested, such as the source of a row. If all cluster factors are fixed,
            the items are treated as independent.
    """
    codes_by_name = {name: _encode_labels(labels) for name, labels in (*crossed.items(), *clusters.items())}
    sizes = {name: int(codes.max()) + 1 for name, codes in codes_by_name.items()}
    fixed = {name: size for name, size in sizes.items() if size < MIN_LEVELS}
    names = [name for name in codes_by_name if name not in fixed]
    coarsest = [name for name in names if not any(_is_nested(codes_by_name, name, other, names) for other in names)]
    factors = tuple(_build_factor(name, codes_by_name[name], weights) for name in coarsest)
    assumed_independent = False
    if not factors and not crossed and weights.size > 1:
        factors = (_build_factor("items", np.arange(weights.size), weights),)
        assumed_independent = max(sizes.values(), default=1) == 1
    return ItemStructure(weights, factors, fixed, assumed_independent)


def _build_factor(name: str, codes: Codes, weights: Array) -> Factor:
    return Factor(name, codes, np.bincount(codes, weights=weights) / weights.sum())


def _encode_labels(labels: Sequence[object]) -> Codes:
    """Encode labels as consecutive integers from 0. Each ``None`` gets its own code."""
    numbers: dict[object, int] = {}
    keys = [("item", i) if label is None else ("level", label) for i, label in enumerate(labels)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _is_nested(codes: Mapping[str, Codes], name: str, other: str, order: Sequence[str]) -> bool:
    """Return whether each level of a factor lies within one level of another factor.

    If two factors divide the items in the same way, only the later one in ``order`` counts as nested.
    """
    if other == name:
        return False
    levels, other_levels = (int(codes[factor].max()) + 1 for factor in (name, other))
    pairs = len(np.unique(np.stack([codes[name], codes[other]]), axis=1).T)
    return pairs == levels and (other_levels < levels or order.index(other) < order.index(name))
