"""The terms of the variance of a difference of two arms, and the standard error that they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.crossed_design import Crossed
from winnow.comparison.item_structure import ItemStructure

Array = NDArray[np.float64]

SEEDS = "seeds"
RESIDUAL = "residual"


@dataclass(frozen=True)
class Term:
    """A mean square, as a signed term of Var(difference).

    Attributes:
        source: What varies: ``seeds``, a factor of the items, or ``residual``.
        sample: The sample of seeds that the mean square is taken within; empty for a factor or the residual of the
            difference of the arms.
        value: The term with its sign; an array for many studies at once.
        df: Degrees of freedom of the mean square.
    """

    source: str
    sample: str
    value: Array | float
    df: float

    @property
    def is_main(self) -> bool:
        """Whether the term alone estimates a part of the variance, and not what several parts share."""
        return self.source == SEEDS or (not self.sample and self.source != RESIDUAL)


@dataclass(frozen=True)
class Spread:
    """The variance of a difference with Satterthwaite's degrees of freedom; ``rule`` indexes ``rules``."""

    variance: Array
    df: Array
    rule: NDArray[np.int64]
    rules: tuple[str, ...]


def variance_terms(crossed: Crossed) -> list[Term]:
    """Return the terms of Var(difference) that :func:`winnow.comparison.contrast` defines."""
    structure, terms = crossed.structure, []
    for sample, scores, _ in crossed.samples:
        means = (scores * crossed.weights).mean(axis=1)
        terms.append(Term(SEEDS, sample, float(means.var(ddof=1)) / means.size, means.size - 1))
    difference = crossed.scores_a.mean(axis=0) - crossed.scores_b.mean(axis=0)
    terms += _item_terms(structure, difference, "", 1.0, 1)
    for sample, scores, missing in crossed.samples:
        n = len(scores)
        cells = (n - 1) * (crossed.weights.size - 1)
        known = cells - missing
        if known >= 1:
            deviations = scores - scores.mean(axis=0)
            terms += _item_terms(structure, deviations, sample, -cells / known / n / (n - 1), (n - 1) * known / cells)
    return terms


def _item_terms(structure: ItemStructure, values: Array, sample: str, scale: float, df: float) -> list[Term]:
    """Return the variance of the items' mean as terms: each factor, and what several factors share."""
    contributions = structure.contributions(values)
    terms = [
        Term(factor.name, sample, scale * factor.variance(contributions), df * factor.df)
        for factor in structure.factors
    ]
    if structure.residual_df >= 1:
        repeated = -scale * (len(structure.factors) - 1)
        terms.append(Term(RESIDUAL, sample, repeated * structure.residual_variance(values), df * structure.residual_df))
    return terms


def combined(terms: Sequence[Term]) -> Spread:
    """Add the terms up, with a lower bound.

    The sum of all terms is unbiased but can come out too small, even negative. The terms of the seeds alone, or of one
    factor alone, estimate a part of the variance; the largest of these sums is used, with its own degrees of freedom.
    """
    mains = list(dict.fromkeys(term.source for term in terms if term.is_main))
    groups = {"all": list(terms), **{name: [t for t in terms if t.is_main and t.source == name] for name in mains}}
    if len(mains) == 1:
        groups.pop("all")
    sums = np.stack([np.asarray(sum(t.value for t in group), dtype=np.float64) for group in groups.values()])
    squares = np.stack([
        np.asarray(sum(np.square(t.value) / t.df for t in group), dtype=np.float64) for group in groups.values()
    ])  # fmt: skip
    rule = sums.argmax(axis=0)[None]
    variance = np.take_along_axis(sums, rule, 0)[0]
    spread = np.take_along_axis(squares, rule, 0)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.square(variance) / spread
    return Spread(variance, df, rule[0], tuple(groups))
