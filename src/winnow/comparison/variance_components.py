"""Variance components of a contrast, from which studies of another size are planned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.comparison.crossed_design import Crossed, cross
from winnow.comparison.variance_terms import RESIDUAL, SEEDS, Term, variance_terms
from winnow.errors import WinnowError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class FactorComponents:
    """The components of one of several crossed factors of the items, such as the template.

    Attributes:
        name: The factor.
        levels: Its number of levels.
        between: Variance of the difference of the arms between levels.
        error_a: Variance of the interaction of seed and level within arm a.
        error_b: The same within arm b.
    """

    name: str
    levels: int
    between: float
    error_a: float
    error_b: float


@dataclass(frozen=True)
class Components:
    """The variance components behind the difference of two arms, in squared units of the metric.

    If seeds are blocks, arm a stands for the differences of the pairs and the components of arm b are 0.

    Attributes:
        seed_a: Variance between the seeds of arm a.
        seed_b: The same of arm b.
        item: Variance of the difference of the arms from item to item; beside ``factors``, what they leave.
        error_a: Variance of a score of arm a that is left.
        error_b: The same of arm b.
        items: The number of items, or of levels of the one factor that they form.
        factors: Crossed factors of the items; empty if the items are one factor.
        item_name: What an item is: ``items``, or the name of that one factor.
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
                f"components: expected finite variances of at least 0, got {', '.join(f'{v:g}' for v in values)}. "
                "Leave out runs with infinite scores.",
                key="components",
            )

    @property
    def levels(self) -> dict[str, int]:
        """The number of levels of each random factor."""
        if self.factors:
            return {factor.name: factor.levels for factor in self.factors}
        return {self.item_name: self.items} if self.items > 1 else {}

    def terms(self, seeds: int, items: int | None = None, levels: Mapping[str, int] | None = None) -> list[Term]:
        """Return the expected terms of Var(difference), for a study of that size.

        They are those of :func:`winnow.comparison.variance_terms.variance_terms`.

        Args:
            seeds: Seeds per arm.
            items: Items, if they are one factor.
            levels: Levels of factors that differ from those of the study; items are added in proportion.
        """
        sizes = self._sizes(items, levels or {})
        factors = self.factors
        if not factors:
            factors = (FactorComponents(self.item_name, self.items, self.item, self.error_a, self.error_b),)
        scale = math.prod(sizes.get(f.name, 1) / f.levels for f in factors)
        count, repeated = self.items * scale, len(factors) - 1
        rest = (self.item, self.error_a, self.error_b) if self.factors else (0.0, 0.0, 0.0)
        left = max(1.0, count - sum(sizes.values()) + repeated)
        sides = [Side("a", seeds, self.seed_a, rest[1]), Side("b", seeds, self.seed_b, rest[2])]
        found = []
        for side in sides:
            seed = side.seed + sum(side.of(f) / sizes.get(f.name, 1) for f in factors) + side.error / count
            found.append(Term(SEEDS, side.name, seed / seeds, seeds - 1.0))
        if not sizes:
            return found
        residual = (rest[0] + sum(side.error for side in sides) / seeds) / count
        for f in factors:
            between = (f.between + (f.error_a + f.error_b) / seeds) / sizes[f.name]
            found.append(Term(f.name, "", between + residual, sizes[f.name] - 1.0))
            for side in sides:
                shared = -(side.of(f) / sizes[f.name] + side.error / count) / seeds
                found.append(Term(f.name, side.name, shared, (seeds - 1.0) * (sizes[f.name] - 1)))
        if repeated:
            found.append(Term(RESIDUAL, "", -repeated * residual, left))
            found += [Term(RESIDUAL, s.name, repeated * s.error / count / seeds, (seeds - 1) * left) for s in sides]
        return found

    def _sizes(self, items: int | None, levels: Mapping[str, int]) -> dict[str, int]:
        """Return the levels of each random factor of a study to be planned."""
        known = self.levels or {self.item_name: self.items}
        if items is not None:
            if self.factors:
                raise WinnowError(f"items: items form several factors; give levels of {', '.join(known)}.", "items")
            levels = {self.item_name: items}
        for name in levels.keys() - known.keys():
            near = did_you_mean(name, known)
            raise WinnowError(f"levels: there is no factor '{name}'.{near} Factors are {', '.join(known)}.", "levels")
        sizes = known | dict(levels)
        return {name: size for name, size in sizes.items() if size > 1}


@dataclass(frozen=True)
class Side:
    """One arm in :meth:`Components.terms`."""

    name: str
    seeds: int
    seed: float
    error: float

    def of(self, factor: FactorComponents) -> float:
        """Return the arm's interaction of seed and factor."""
        return factor.error_a if self.name == "a" else factor.error_b


def components(scores: pd.DataFrame, a: str, b: str, blocked: bool = False) -> Components:
    """Return the variance components of two arms' scores by the analysis of variance; none is below 0.

    Each mean square of :func:`winnow.comparison.contrast` is set equal to its expectation, from the residual upwards.
    Searle, Casella and McCulloch 1992, Variance Components, chapter 4.

    Args:
        scores: The table; see :func:`winnow.comparison.crossed_design.cross`.
        a: One arm.
        b: The other.
        blocked: Whether equal seeds of the arms are pairs.
    """
    return crossed_components(cross(scores, a, b, blocked))


def crossed_components(crossed: Crossed) -> Components:
    """Return the components of :func:`components` from matrices that are laid out already."""
    squares = _Squares(crossed)
    factors = crossed.structure.factors
    if len(factors) < 2:
        return _of_one_factor(squares, factors[0].name if factors else "items", factors[0].levels if factors else 1)
    items = crossed.weights.size
    residual = -squares.term(RESIDUAL, "") / (len(factors) - 1)
    errors = {s: n * items * squares.term(RESIDUAL, s) / (len(factors) - 1) for s, n in squares.sizes.items()}
    found, by_level = [], dict.fromkeys(squares.sizes, 0.0)
    for factor in factors:
        size = factor.levels
        own = {s: max(0.0, -n * squares.term(factor.name, s) - errors[s] / items) for s, n in squares.sizes.items()}
        between = squares.term(factor.name, "") - residual - sum(own[s] / n for s, n in squares.sizes.items())
        by_level = {s: by_level[s] + own[s] for s in own}
        found.append(
            FactorComponents(factor.name, size, max(0.0, size * between), *_two(size * v for v in own.values()))
        )
    seeds = [max(0.0, squares.seed(s) - by_level[s] - errors[s] / items) for s in errors]
    item = max(0.0, items * residual - sum(errors[s] / n for s, n in squares.sizes.items()))
    return Components(*_two(seeds), item, *_two(errors.values()), items, tuple(found))


def _of_one_factor(squares: _Squares, name: str, levels: int) -> Components:
    errors = {s: -n * levels * squares.term(name, s) for s, n in squares.sizes.items()}
    seeds = [max(0.0, squares.seed(s) - errors[s] / levels) for s in errors]
    item = max(0.0, levels * squares.term(name, "") - sum(errors[s] / n for s, n in squares.sizes.items()))
    return Components(*_two(seeds), item, *_two(errors.values()), levels, item_name=name)


class _Squares:
    """The terms of a contrast by source and sample, and the seeds of each sample."""

    def __init__(self, crossed: Crossed) -> None:
        self.sizes = {name: len(scores) for name, scores, _ in crossed.samples}
        self._found = {(term.source, term.sample): float(term.value) for term in variance_terms(crossed)}

    def term(self, source: str, sample: str) -> float:
        """Return a term, or 0 if there is none."""
        return self._found.get((source, sample), 0.0)

    def seed(self, sample: str) -> float:
        """Return the variance of the seed means of a sample."""
        return self.sizes[sample] * self.term(SEEDS, sample)


def _two(values: Iterable[float]) -> tuple[float, float]:
    """Return the values of both arms; arm b has 0 if there is one sample of pairs."""
    first, second, *_ = (*values, 0.0)
    return first, second
