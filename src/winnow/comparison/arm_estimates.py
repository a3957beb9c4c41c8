"""Estimate the means of several arms and the joint variance of all contrasts between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.crossed_design import ArmScores
from winnow.comparison.difference_variance import RESIDUAL, SEEDS, VarianceTerm, combine_terms
from winnow.comparison.distributions import t_quantiles, t_tail_probabilities
from winnow.comparison.item_factors import ItemStructure

Array = NDArray[np.float64]

BLOCKS = "blocks"
"""The name of the sample that contains the seeds of all arms, if seeds are blocks."""


@dataclass(frozen=True)
class Effects:
    """Estimated contrasts with their standard errors. All arrays have the shape (..., contrasts).

    Attributes:
        estimate: The estimated contrasts.
        std_error: The standard errors.
        df: Satterthwaite's degrees of freedom; ``nan`` if the variance cannot be estimated.
    """

    estimate: Array
    std_error: Array
    df: Array

    @property
    def statistic(self) -> Array:
        """The estimates divided by their standard errors; ``nan`` if the variance cannot be estimated."""
        statistic: Array = np.divide(
            self.estimate, self.std_error, out=np.full(self.estimate.shape, np.nan), where=~np.isnan(self.df)
        )
        return statistic

    @property
    def p_value(self) -> Array:
        """Two-sided p-values, not adjusted."""
        p_values: Array = 2 * t_tail_probabilities(np.abs(self.statistic), self.df)
        return p_values

    @property
    def p_positive(self) -> Array:
        """One-sided p-values of the null hypothesis that the contrast is at most 0, not adjusted."""
        p_values: Array = t_tail_probabilities(self.statistic, self.df)
        return p_values

    def interval(self, alpha: float) -> tuple[Array, Array]:
        """Return the ends of the intervals with coverage ``1 - alpha``."""
        half_width = t_quantiles(1 - alpha / 2, self.df) * self.std_error
        return self.estimate - half_width, self.estimate + half_width


@dataclass(frozen=True)
class MatrixTerm:
    """One signed term of the covariance matrix of the arms' means.

    A contrast with coefficients c has the variance term ``c' matrix c``. The terms of the difference between two arms
    are those of :func:`winnow.comparison.difference_variance.compute_variance_terms`.

    Attributes:
        source: The source of variation: ``seeds``, an item factor, or ``residual``.
        sample: The sample of seeds within which the mean squares are computed; empty if they are computed from the
            arms' means per item.
        matrix: The signed term, with shape (..., arms, arms).
        df: Degrees of freedom of the mean squares.
    """

    source: str
    sample: str
    matrix: Array
    df: float

    def evaluate(self, coefficients: Array) -> VarianceTerm:
        """Return the variance term of each contrast, with shape (..., contrasts)."""
        value = ((coefficients @ self.matrix) * coefficients).sum(axis=-1)
        return VarianceTerm(self.source, self.sample, value, self.df)


@dataclass(frozen=True)
class ArmEstimates:
    """The means of several arms, and the terms of their covariance matrix.

    The first dimensions of all arrays may number simulated studies.

    Attributes:
        arms: The names of the arms.
        means: The weighted mean of each arm over seeds and items, with shape (..., arms).
        terms: The terms of the covariance matrix.
    """

    arms: tuple[str, ...]
    means: Array
    terms: tuple[MatrixTerm, ...]

    def build_coefficients(self, contrasts: Sequence[Mapping[str, float]]) -> Array:
        """Return the coefficients of contrasts as a matrix of shape (contrasts, arms).

        Args:
            contrasts: For each contrast, the coefficient of each arm; arms that are not listed have the coefficient 0.
        """
        return np.array([[contrast.get(arm, 0.0) for arm in self.arms] for contrast in contrasts])

    def estimate(self, coefficients: Array) -> Effects:
        """Estimate contrasts with the procedure of :func:`winnow.comparison.contrast`.

        Args:
            coefficients: The coefficients, with shape (contrasts, arms). Those of each contrast must sum to 0.
        """
        estimate = self.means @ coefficients.T
        combined = combine_terms([term.evaluate(coefficients) for term in self.terms])
        smallest = np.finfo(np.float64).eps * np.square(self.means).max(axis=-1, keepdims=True)
        df = np.where(combined.variance > smallest, combined.df, np.nan)
        return Effects(estimate, np.sqrt(combined.variance), df)

    def correlate(self, coefficients: Array) -> Array:
        """Return the correlation matrix of contrasts, shrunk toward 0 according to its sampling error.

        The correlations come from the sum of the main terms, which is positive semidefinite. With few seeds, they are
        imprecise. They are therefore multiplied by the factor of Schafer and Strimmer (2005, Statistical Applications
        in Genetics and Molecular Biology 4:32), with the variance ``(1 - r^2)^2 / df`` of a correlation. A contrast
        whose variance cannot be estimated has the correlation 0 with all others.

        Args:
            coefficients: The coefficients, with shape (contrasts, arms).
        """
        main_terms = [term for term in self.terms if term.evaluate(coefficients).is_main]
        covariances = [coefficients @ term.matrix @ coefficients.T for term in main_terms]
        covariance = np.sum(covariances, axis=0)
        scale = np.sqrt(np.diag(covariance))
        scale[scale == 0] = np.inf
        correlation = covariance / np.outer(scale, scale)
        traces = np.trace(covariances, axis1=1, axis2=2)
        df = traces.sum() ** 2 / sum(np.square(traces) / [term.df for term in main_terms])
        off_diagonal = correlation[~np.eye(len(correlation), dtype=bool)]
        squares = float(np.square(off_diagonal).sum())
        error = float(np.square(1 - np.square(off_diagonal)).sum()) / df
        shrinkage = min(1.0, error / squares) if squares > 0 else 1.0
        shrunk: Array = (1 - shrinkage) * correlation
        np.fill_diagonal(shrunk, 1.0)
        return shrunk


def estimate_arms(scores: ArmScores) -> ArmEstimates:
    """Estimate the means of the arms and the terms of their covariance matrix.

    For two arms, the results are those of :func:`winnow.comparison.contrast`. If seeds are blocks, the seeds of all
    arms form one sample, which is valid for any correlation between runs with the same seed. Otherwise, the runs of
    different arms are independent.
    """
    structure, arms = scores.structure, scores.arms
    means = np.stack([(matrix * scores.weights).mean() for matrix in scores.scores])
    item_means = np.stack([matrix.mean(axis=0) for matrix in scores.scores])
    terms = []
    for sample, indices, _ in _list_samples(scores):
        seeds = np.stack([(scores.scores[index] * scores.weights).mean(axis=1) for index in indices])
        covariance = np.atleast_2d(np.cov(seeds)) / seeds.shape[1]
        terms.append(MatrixTerm(SEEDS, sample, _embed(covariance, indices, len(arms)), seeds.shape[1] - 1))
    terms += _compute_item_matrices(structure, item_means[:, None], "", 1.0, 1)
    for sample, indices, missing in _list_samples(scores):
        matrices = np.stack([scores.scores[index] for index in indices])
        n = matrices.shape[1]
        complete_df = (n - 1) * (scores.weights.size - 1)
        df = complete_df - missing
        if df >= 1:
            deviations = matrices - matrices.mean(axis=1, keepdims=True)
            scale = -complete_df / df / n / (n - 1)
            terms += [
                MatrixTerm(term.source, sample, _embed(term.matrix, indices, len(arms)), term.df)
                for term in _compute_item_matrices(structure, deviations, sample, scale, (n - 1) * df / complete_df)
            ]
    return ArmEstimates(arms, means, tuple(terms))


def _list_samples(scores: ArmScores) -> list[tuple[str, list[int], float]]:
    """Return the independent samples of seeds, as tuples of name, indices of arms and number of imputed scores."""
    missing = scores.missing or (0,) * len(scores.arms)
    if scores.blocked:
        return [(BLOCKS, list(range(len(scores.arms))), sum(missing) / len(missing))]
    return [(arm, [index], missing[index]) for index, arm in enumerate(scores.arms)]


def _embed(matrix: Array, indices: Sequence[int], size: int) -> Array:
    """Return a matrix for all arms that contains the given matrix of some arms and is 0 otherwise."""
    embedded = np.zeros((size, size))
    embedded[np.ix_(indices, indices)] = matrix
    return embedded


def _compute_item_matrices(
    structure: ItemStructure, values: Array, sample: str, scale: float, df: float
) -> list[MatrixTerm]:
    """Compute the item terms from values of shape (arms, seeds, items): one per factor, and one for shared variance."""
    arms, items = len(values), values.shape[-1]
    values = values.reshape(-1, items)
    contributions = structure.contributions(values)
    terms = [
        MatrixTerm(
            factor.name,
            sample,
            scale * factor.correction * _multiply(factor.sum_by_level(contributions), arms),
            df * factor.df,
        )
        for factor in structure.factors
    ]
    if structure.residual_df >= 1:
        residual_scale = -scale * (len(structure.factors) - 1) / structure.residual_df / structure.weights.size
        matrix = residual_scale * _multiply(structure.residuals(values), arms)
        terms.append(MatrixTerm(RESIDUAL, sample, matrix, df * structure.residual_df))
    return terms


def _multiply(values: Array, arms: int) -> Array:
    """Return the sums of products of all pairs of arms from values whose rows are sorted by arm."""
    rows = values.reshape(arms, -1)
    return rows @ rows.T
