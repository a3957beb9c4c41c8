"""Estimate the variance components of a contrast, which are used to compute the power at other study sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.comparison.crossed_design import CrossedScores, pivot_scores
from winnow.comparison.difference_variance import RESIDUAL, SEEDS, VarianceTerm, compute_variance_terms
from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FactorComponents:
    """The variance components of one crossed item factor, such as the template.

    Attributes:
        name: The name of the factor.
        levels: The number of levels.
        between: Variance of the arm difference across levels.
        error_a: Variance of the seed-by-level interaction in arm a.
        error_b: Variance of the seed-by-level interaction in arm b.
    """

    name: str
    levels: int
    between: float
    error_a: float
    error_b: float


@dataclass(frozen=True)
class VarianceComponents:
    """The variance components of the difference between two arms, in squared units of the metric.

    If seeds are blocks, the components of arm a describe the differences of the pairs, and the components of arm b are
    0.

    Attributes:
        seed_a: Variance between the seeds of arm a.
        seed_b: Variance between the seeds of arm b.
        item: Variance of the arm difference across items, excluding the variance due to ``factors``.
        error_a: Residual variance of a single score in arm a.
        error_b: Residual variance of a single score in arm b.
        items: The number of items, or the number of levels if the items form a single factor.
        factors: The crossed item factors; empty if the items form a single factor.
        item_name: The name of the single factor that the items form.
    """

    seed_a: float
    seed_b: float
    item: float
    error_a: float
    error_b: float
    items: int
    factors: tuple[FactorComponents, ...] = ()
    item_name: str = "items"

    def __post_init__(self) -> None:
        values = [self.seed_a, self.seed_b, self.item, self.error_a, self.error_b]
        values += [v for factor in self.factors for v in (factor.between, factor.error_a, factor.error_b)]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise WinnowError(
                f"expected finite variances of at least 0, got {', '.join(f'{v:g}' for v in values)}. "
                "Exclude runs with infinite scores.",
                key="components",
            )

    @property
    def levels(self) -> dict[str, int]:
        """The number of levels of each random factor."""
        if self.factors:
            return {factor.name: factor.levels for factor in self.factors}
        return {self.item_name: self.items} if self.items > 1 else {}

    def terms(
        self, seeds: int, items: int | None = None, levels: Mapping[str, int] | None = None
    ) -> list[VarianceTerm]:
        """Return the expected values of the terms of Var(difference) for a given study size.

        The terms are defined in :func:`winnow.comparison.difference_variance.compute_variance_terms`.

        Args:
            seeds: Seeds per arm.
            items: Number of items, if they form a single factor.
            levels: Number of levels by factor; by default, the same as in the estimated study. The number of items
                changes proportionally.
        """
        sizes = self._sizes(items, levels or {})
        factors = self.factors
        if not factors:
            factors = (FactorComponents(self.item_name, self.items, self.item, self.error_a, self.error_b),)
        scale = math.prod(sizes.get(f.name, 1) / f.levels for f in factors)
        count, extra_factors = self.items * scale, len(factors) - 1
        item, error_a, error_b = (self.item, self.error_a, self.error_b) if self.factors else (0.0, 0.0, 0.0)
        residual_df = max(1.0, count - sum(sizes.values()) + extra_factors)
        arms = [ArmComponents("a", self.seed_a, error_a), ArmComponents("b", self.seed_b, error_b)]
        terms = []
        for arm in arms:
            seed = arm.seed + sum(arm.get_error(f) / sizes.get(f.name, 1) for f in factors) + arm.error / count
            terms.append(VarianceTerm(SEEDS, arm.name, seed / seeds, seeds - 1.0))
        if not sizes:
            return terms
        residual = (item + sum(arm.error for arm in arms) / seeds) / count
        for f in factors:
            between = (f.between + (f.error_a + f.error_b) / seeds) / sizes[f.name]
            terms.append(VarianceTerm(f.name, "", between + residual, sizes[f.name] - 1.0))
            for arm in arms:
                shared_variance = -(arm.get_error(f) / sizes[f.name] + arm.error / count) / seeds
                terms.append(VarianceTerm(f.name, arm.name, shared_variance, (seeds - 1.0) * (sizes[f.name] - 1)))
        if extra_factors:
            terms.append(VarianceTerm(RESIDUAL, "", -extra_factors * residual, residual_df))
            for arm in arms:
                value = extra_factors * arm.error / count / seeds
                terms.append(VarianceTerm(RESIDUAL, arm.name, value, (seeds - 1) * residual_df))
        return terms

    def _sizes(self, items: int | None, levels: Mapping[str, int]) -> dict[str, int]:
        """Return the number of levels of each random factor of the planned study."""
        known_levels = self.levels or {self.item_name: self.items}
        if items is not None:
            if self.factors:
                raise WinnowError(
                    f"expected None, because the items form several factors, got {items}. Set `levels` instead. "
                    f"Available factors: {', '.join(known_levels)}.",
                    "items",
                )
            levels = {self.item_name: items}
        for name in levels.keys() - known_levels.keys():
            hint = did_you_mean(name, known_levels)
            raise WinnowError(
                f"unknown factor '{name}'.{hint} Available: {', '.join(known_levels)}. Correct the name.", "levels"
            )
        sizes = known_levels | dict(levels)
        return {name: size for name, size in sizes.items() if size > 1}


@dataclass(frozen=True)
class ArmComponents:
    """The seed variance and the residual variance of one arm."""

    name: str
    seed: float
    error: float

    def get_error(self, factor: FactorComponents) -> float:
        """Return the variance of the seed-by-factor interaction in this arm."""
        return factor.error_a if self.name == "a" else factor.error_b


def estimate_variance_components(scores: pd.DataFrame, a: str, b: str, blocked: bool = False) -> VarianceComponents:
    """Estimate the variance components of the scores of two arms by analysis of variance.

    Each mean square of :func:`winnow.comparison.contrast` is equated to its expectation, starting with the residual
    (Searle, Casella and McCulloch 1992, Variance Components, chapter 4). Negative estimates are set to 0.

    Args:
        scores: The table of scores; see :func:`winnow.comparison.crossed_design.pivot_scores`.
        a: The first arm.
        b: The second arm.
        blocked: Whether runs of both arms with the same seed form a pair.
    """
    return estimate_crossed_components(pivot_scores(scores, a, b, blocked))


def estimate_crossed_components(crossed: CrossedScores) -> VarianceComponents:
    """Estimate the variance components of scores in matrix form; see :func:`estimate_variance_components`."""
    return solve_components(crossed, compute_variance_terms(crossed))


def solve_components(crossed: CrossedScores, terms: Iterable[VarianceTerm]) -> VarianceComponents:
    """Return the variance components for which the terms of the contrast have the given values.

    Args:
        crossed: The scores, which define the numbers of seeds and items and the structure of the items.
        terms: The terms, such as those of :func:`winnow.comparison.difference_variance.compute_variance_terms`.
    """
    table = _TermLookup(crossed, terms)
    factors = crossed.structure.factors
    if len(factors) < 2:
        return _estimate_single_factor(
            table, factors[0].name if factors else "items", factors[0].levels if factors else 1
        )
    items = crossed.weights.size
    residual = -table.term(RESIDUAL, "") / (len(factors) - 1)
    errors = {s: n * items * table.term(RESIDUAL, s) / (len(factors) - 1) for s, n in table.sizes.items()}
    components, by_level = [], dict.fromkeys(table.sizes, 0.0)
    for factor in factors:
        size = factor.levels
        interaction = {s: max(0.0, -n * table.term(factor.name, s) - errors[s] / items) for s, n in table.sizes.items()}
        between = table.term(factor.name, "") - residual - sum(interaction[s] / n for s, n in table.sizes.items())
        by_level = {s: by_level[s] + interaction[s] for s in interaction}
        components.append(
            FactorComponents(
                factor.name, size, max(0.0, size * between), *_pad_to_pair(size * v for v in interaction.values())
            )
        )
    seeds = [max(0.0, table.seed(s) - by_level[s] - errors[s] / items) for s in errors]
    item = max(0.0, items * residual - sum(errors[s] / n for s, n in table.sizes.items()))
    return VarianceComponents(*_pad_to_pair(seeds), item, *_pad_to_pair(errors.values()), items, tuple(components))


def _estimate_single_factor(table: _TermLookup, name: str, levels: int) -> VarianceComponents:
    errors = {s: -n * levels * table.term(name, s) for s, n in table.sizes.items()}
    seeds = [max(0.0, table.seed(s) - errors[s] / levels) for s in errors]
    item = max(0.0, levels * table.term(name, "") - sum(errors[s] / n for s, n in table.sizes.items()))
    return VarianceComponents(*_pad_to_pair(seeds), item, *_pad_to_pair(errors.values()), levels, item_name=name)


class _TermLookup:
    """The terms of a contrast by source and sample, and the number of seeds in each sample."""

    def __init__(self, crossed: CrossedScores, terms: Iterable[VarianceTerm]) -> None:
        self.sizes = {name: len(scores) for name, scores, _ in crossed.samples}
        self._values = {(term.source, term.sample): float(term.value) for term in terms}

    def term(self, source: str, sample: str) -> float:
        """Return a term, or 0 if it does not exist."""
        return self._values.get((source, sample), 0.0)

    def seed(self, sample: str) -> float:
        """Return the variance of the seed means of a sample."""
        return self.sizes[sample] * self.term(SEEDS, sample)


def _pad_to_pair(values: Iterable[float]) -> tuple[float, float]:
    """Return the values of arms a and b. If seeds are paired, return the value of the paired differences and 0."""
    first, second, *_ = (*values, 0.0)
    return first, second
