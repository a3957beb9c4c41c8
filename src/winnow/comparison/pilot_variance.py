"""Estimate the variance of a contrast from a pilot, with the uncertainty of the estimate, and predict power from it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from winnow.comparison.crossed_design import Array, CrossedScores
from winnow.comparison.difference_variance import SEEDS, VarianceTerm, combine_terms, compute_variance_terms
from winnow.comparison.variance_components import FactorComponents, VarianceComponents, solve_components

QUADRATURE_NODES = 60
"""The number of nodes of the quadrature over the estimated standard error."""


def estimate_pilot_terms(crossed: CrossedScores, seed_means: Array | None = None) -> list[VarianceTerm]:
    """Return the terms of the variance of a contrast in a pilot.

    Args:
        crossed: The scores of the two arms of the planned contrast.
        seed_means: The mean scores of all runs of the pilot, of shape (arms, seeds). If seeds are blocks and there are
            more than two arms, the variance between seeds is estimated from all arms, which are assumed to have the
            same variance. With 2 seeds, a third arm doubles the degrees of freedom.
    """
    terms = compute_variance_terms(crossed)
    if not crossed.blocked or seed_means is None or len(seed_means) < 3:
        return terms
    arms, seeds = seed_means.shape
    centered = seed_means - seed_means.mean(axis=0)
    residuals = centered - centered.mean(axis=1, keepdims=True)
    df = (arms - 1) * (seeds - 1)
    pooled_value = 2 * float(np.square(residuals).sum()) / df / seeds
    return [replace(term, value=pooled_value, df=df) if term.source == SEEDS else term for term in terms]


def draw_components(
    crossed: CrossedScores, terms: Sequence[VarianceTerm], draws: int, rng: np.random.Generator
) -> list[VarianceComponents]:
    """Draw variance components that are plausible given a pilot.

    Each mean square with f degrees of freedom is multiplied by ``f / chi-squared(f)``. The result is the fiducial
    distribution of the expected mean squares of normal data (Weerahandi 1993, Journal of the American Statistical
    Association 88:899). If the pilot is small, the draws differ greatly.
    """
    factors = np.stack([term.df / rng.chisquare(term.df, draws) for term in terms], axis=1)
    return [
        solve_components(
            crossed, [replace(term, value=float(term.value) * f) for term, f in zip(terms, row, strict=True)]
        )
        for row in factors
    ]


def predict_power(
    components: Sequence[VarianceComponents],
    size: float,
    seeds: int,
    alpha: float = 0.05,
    levels: Mapping[str, int] | None = None,
) -> Array:
    """Return the power of the two-sided test of a study, for each of several variance components.

    The result is the same as that of :func:`winnow.comparison.power_analysis.compute_power`, except that the variance
    is at least that of the largest single source, as in a comparison.

    Args:
        components: The variance components, such as the draws of :func:`draw_components`.
        size: The true difference.
        seeds: Seeds per arm, at least 2.
        alpha: The level of the test.
        levels: The number of levels of each factor, if it differs from the pilot.
    """
    # The terms are linear in the components, so they are computed once per component instead of once per draw.
    units = np.eye(len(_to_vector(components[0])))
    terms_by_unit = [_from_vector(components[0], unit).terms(seeds, levels=levels) for unit in units]
    coefficients = np.array([[float(term.value) for term in terms] for terms in terms_by_unit])
    values = np.array([_to_vector(component) for component in components]) @ coefficients
    combined = combine_terms([replace(term, value=values[:, i]) for i, term in enumerate(terms_by_unit[0])])
    variance = np.maximum(combined.variance, np.finfo(np.float64).tiny)
    df = np.where(np.isfinite(combined.df), combined.df, seeds - 1.0)
    return compute_power_array(abs(size) / np.sqrt(variance), df, alpha)


@functools.cache
def _compute_quadrature() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    return nodes, weights


def _to_vector(components: VarianceComponents) -> list[float]:
    """Return all variances as a list."""
    factors = [(factor.between, factor.error_a, factor.error_b) for factor in components.factors]
    variances = [components.seed_a, components.seed_b, components.item, components.error_a, components.error_b]
    return [*variances, *(value for factor in factors for value in factor)]


def _from_vector(template: VarianceComponents, vector: Array) -> VarianceComponents:
    """Return components with the structure of a template and other variances; the inverse of :func:`_to_vector`."""
    seed_a, seed_b, item, error_a, error_b, *others = vector.tolist()
    factors = tuple(
        FactorComponents(factor.name, factor.levels, *others[3 * i : 3 * i + 3])
        for i, factor in enumerate(template.factors)
    )
    return VarianceComponents(
        seed_a, seed_b, item, error_a, error_b, template.items, factors, item_name=template.item_name
    )


def compute_power_array(shift: Array, df: Array, alpha: float) -> Array:
    """Return the power of each of several t tests; see :func:`winnow.comparison.power_analysis.compute_t_test_power`.

    Args:
        shift: The true differences in standard errors.
        df: The degrees of freedom.
        alpha: The level of the tests.
    """
    from scipy.special import chdtri, gammaincinv, ndtr, stdtrit

    shift, df = np.minimum(shift, 1e6)[:, None], df[:, None]
    limit = stdtrit(df, 1 - alpha / 2)
    low, high = np.sqrt(2 * gammaincinv(df / 2, 1e-12) / df), np.sqrt(chdtri(df, 1e-12) / df)
    nodes, weights = _compute_quadrature()
    s = low + (high - low) * (nodes + 1) / 2
    log_density = (df - 1) * np.log(s) - df * s**2 / 2
    mass = weights * np.exp(log_density - log_density.max(axis=1, keepdims=True))
    power = (mass * (ndtr(shift - limit * s) + ndtr(-shift - limit * s))).sum(axis=1) / mass.sum(axis=1)
    clipped: Array = np.clip(power, 0.0, 1.0)
    return clipped
