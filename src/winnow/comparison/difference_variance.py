"""Compute and combine the terms of the variance of a difference between two arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.item_factors import ItemStructure

Array = NDArray[np.float64]

SEEDS = "seeds"
RESIDUAL = "residual"


@dataclass(frozen=True)
class VarianceTerm:
    """One signed term of Var(difference), estimated by a mean square.

    Attributes:
        source: The source of variation: ``seeds``, an item factor, or ``residual``.
        sample: The sample of seeds within which the mean square is computed; empty if it is computed from the
            difference of the arms.
        value: The signed value of the term; an array if many studies are computed at once.
        df: Degrees of freedom of the mean square.
    """

    source: str
    sample: str
    value: Array | float
    df: float

    @property
    def is_main(self) -> bool:
        """Whether the term estimates the variance of one source rather than variance shared by several sources."""
        return self.source == SEEDS or (not self.sample and self.source != RESIDUAL)


@dataclass(frozen=True)
class CombinedVariance:
    """The variance of a difference, with Satterthwaite's degrees of freedom.

    ``sources[source_index]`` names the sources that the variance is based on: ``all``, or a single source.
    """

    variance: Array
    df: Array
    source_index: NDArray[np.int64]
    sources: tuple[str, ...]


def compute_variance_terms(crossed: CrossedScores) -> list[VarianceTerm]:
    """Compute the terms of Var(difference), as defined in :func:`winnow.comparison.contrast`."""
    structure, terms = crossed.structure, []
    for sample, scores, _ in crossed.samples:
        means = (scores * crossed.weights).mean(axis=1)
        terms.append(VarianceTerm(SEEDS, sample, float(means.var(ddof=1)) / means.size, means.size - 1))
    difference = crossed.scores_a.mean(axis=0) - crossed.scores_b.mean(axis=0)
    terms += _compute_item_terms(structure, difference, "", 1.0, 1)
    for sample, scores, missing in crossed.samples:
        n = len(scores)
        complete_df = (n - 1) * (crossed.weights.size - 1)
        df = complete_df - missing
        if df >= 1:
            deviations = scores - scores.mean(axis=0)
            scale = -complete_df / df / n / (n - 1)
            terms += _compute_item_terms(structure, deviations, sample, scale, (n - 1) * df / complete_df)
    return terms


def _compute_item_terms(
    structure: ItemStructure, values: Array, sample: str, scale: float, df: float
) -> list[VarianceTerm]:
    """Compute the variance of the mean over items: one term per factor, and one for shared variance."""
    contributions = structure.contributions(values)
    terms = [
        VarianceTerm(factor.name, sample, scale * factor.variance(contributions), df * factor.df)
        for factor in structure.factors
    ]
    if structure.residual_df >= 1:
        residual_scale = -scale * (len(structure.factors) - 1)
        terms.append(
            VarianceTerm(
                RESIDUAL, sample, residual_scale * structure.residual_variance(values), df * structure.residual_df
            )
        )
    return terms


def combine_terms(terms: Sequence[VarianceTerm]) -> CombinedVariance:
    """Return the sum of the terms, or the largest variance of a single source if it exceeds the sum.

    The sum of all terms is an unbiased estimate, but it can be too small or even negative. The variance of the seeds
    and the variance of each factor are lower bounds. The largest of the sum and these lower bounds is used, together
    with its degrees of freedom.
    """
    sources = list(dict.fromkeys(term.source for term in terms if term.is_main))
    groups = {"all": list(terms), **{name: [t for t in terms if t.is_main and t.source == name] for name in sources}}
    if len(sources) == 1:
        groups.pop("all")
    sums = np.stack([np.asarray(sum(t.value for t in group), dtype=np.float64) for group in groups.values()])
    squares = np.stack([
        np.asarray(sum(np.square(t.value) / t.df for t in group), dtype=np.float64) for group in groups.values()
    ])  # fmt: skip
    index = sums.argmax(axis=0)[None]
    variance = np.take_along_axis(sums, index, 0)[0]
    df_denominator = np.take_along_axis(squares, index, 0)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.square(variance) / df_denominator
    return CombinedVariance(variance, df, index[0], tuple(groups))
