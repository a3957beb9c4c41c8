"""Power analysis: how many seeds or templates a study needs, given variance components from an earlier study."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import numpy as np

from winnow.comparison.crossed_design import Array
from winnow.comparison.distributions import chi2_density, chi2_tail_quantiles, t_quantile
from winnow.comparison.variance_components import VarianceComponents
from winnow.errors import WinnowError

MAX_SEEDS = 1000
"""The upper limit of the search for the number of seeds per arm."""

MAX_LEVELS = 10_000
"""The upper limit of the search for the number of levels of a factor."""

QUADRATURE_NODES = 200
"""The number of nodes of the Gauss-Legendre quadrature over the estimated standard error."""


def compute_power(
    components: VarianceComponents,
    size: float,
    seeds: int,
    items: int | None = None,
    alpha: float = 0.05,
    levels: Mapping[str, int] | None = None,
) -> float:
    """Return the probability that the two-sided test at level ``alpha`` detects a true difference of ``size``.

    The degrees of freedom of the t test are computed by Satterthwaite's formula from the expected mean squares. The
    power is integrated numerically over the estimated standard error, because SciPy's noncentral t distribution returns
    NaN for large shifts.

    Args:
        components: The variance components.
        size: The true difference, in units of the metric.
        seeds: Seeds per arm, at least 2.
        items: Number of prompts or rows; by default, the same as in ``components``.
        alpha: Level of the test.
        levels: Number of levels of factors, such as ``{"template": 40}``; by default, the same as in
            ``components``.

    Raises:
        WinnowError: If an argument is out of range (the key is the argument's name).
    """
    _check_arguments(alpha=alpha)
    if seeds < 2:
        raise WinnowError(f"expected at least 2, got {seeds}. Use more seeds.", key="seeds")
    terms = components.terms(seeds, items, levels)
    variance = sum(float(term.value) for term in terms)
    if variance <= 0:
        return 1.0 if size else alpha
    df = variance**2 / sum(float(term.value) ** 2 / term.df for term in terms)
    return compute_t_test_power(abs(size) / math.sqrt(variance), df, alpha)


def compute_t_test_power(shift: float, df: float, alpha: float) -> float:
    """Return the power of the two-sided t test if the true difference is ``shift`` standard errors.

    Let s be the ratio of the estimated to the true standard error. Then ``df s^2`` has a chi-squared distribution, and
    the power is the mean over s of ``Phi(shift - c s) + Phi(-shift - c s)`` (Johnson, Kotz and Balakrishnan 1995,
    Continuous Univariate Distributions 2, chapter 31).

    >>> round(compute_t_test_power(1.0 / 0.2**0.5, 18, 0.05), 3)
    0.562
    """
    from scipy.special import ndtr

    if math.isinf(shift):
        return 1.0
    limit = t_quantile(1 - alpha / 2, df)
    low, high = (math.sqrt(quantile / df) for quantile in chi2_tail_quantiles(1e-13, df))
    nodes, weights = _compute_quadrature()
    s = low + (high - low) * (nodes + 1) / 2
    density = 2 * df * s * chi2_density(df * s**2, df)
    mass = weights * density
    mean = float(mass @ (ndtr(shift - limit * s) + ndtr(-shift - limit * s)) / mass.sum())
    return min(1.0, max(0.0, mean))


@functools.cache
def _compute_quadrature() -> tuple[Array, Array]:
    """Return the nodes and weights of the Gauss-Legendre quadrature, which are slow to compute."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE_NODES)
    return nodes, weights


def seeds_needed(
    components: VarianceComponents, size: float, target_power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the smallest number of seeds per arm needed to detect a true difference of ``size`` with the target power.

    The number of prompts or rows stays the same. The result is ``None`` if the variance between items is so large that
    ``MAX_SEEDS`` seeds are not enough. In that case, use more templates; see :func:`levels_needed`.

    Raises:
        WinnowError: If the size is 0 or not finite, or if the power is not between 0 and 1.
    """
    _check_arguments(size, target_power, alpha)
    return _find_smallest(
        lambda seeds: compute_power(components, size, seeds, alpha=alpha) >= target_power, 2, MAX_SEEDS
    )


def levels_needed(
    components: VarianceComponents,
    size: float,
    seeds: int,
    factor: str = "template",
    target_power: float = 0.8,
    alpha: float = 0.05,
) -> int | None:
    """Return the smallest number of levels of a factor needed to detect a true difference with the target power.

    The number of seeds and the levels of other factors stay the same. The result is ``None`` if the other variance
    components are so large that ``MAX_LEVELS`` levels are not enough.

    Raises:
        WinnowError: If the factor does not exist, the size is 0 or not finite, or the power is not between 0 and 1.
    """
    _check_arguments(size, target_power, alpha)
    return _find_smallest(
        lambda n: compute_power(components, size, seeds, alpha=alpha, levels={factor: n}) >= target_power, 2, MAX_LEVELS
    )


def smallest_detectable_difference(
    components: VarianceComponents,
    seeds: int,
    target_power: float = 0.8,
    alpha: float = 0.05,
    levels: Mapping[str, int] | None = None,
) -> float:
    """Return the smallest true difference that a study detects with the target power.

    Args:
        components: The variance components.
        seeds: Seeds per arm, at least 2.
        target_power: Probability that the study detects the difference.
        alpha: Level of the two-sided test.
        levels: Number of levels of factors; by default, the same as in ``components``.

    Returns:
        The difference in units of the metric, with a relative accuracy of 0.001; 0 if all variances are 0.

    Raises:
        WinnowError: If an argument is out of range (the key is the argument's name).
    """
    _check_arguments(target_power=target_power, alpha=alpha)
    variance = sum(float(term.value) for term in components.terms(seeds, levels=levels))
    if variance <= 0:
        return 0.0
    low, high = 0.0, math.sqrt(variance)
    while compute_power(components, high, seeds, alpha=alpha, levels=levels) < target_power:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        is_enough = compute_power(components, middle, seeds, alpha=alpha, levels=levels) >= target_power
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def _find_smallest(is_enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest n from low to high with ``is_enough(n)``, or ``None``. ``is_enough`` must be monotonic."""
    if not is_enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


def _check_arguments(size: float = 1.0, target_power: float = 0.5, alpha: float = 0.05) -> None:
    if not size or not math.isfinite(size):
        raise WinnowError(f"expected a finite difference that is not 0, got {size}. Use a positive number.", key="size")
    for name, value in (("target_power", target_power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise WinnowError(
                f"expected a number between 0 and 1, got {value:g}. Example: {0.05 if name == 'alpha' else 0.8}.",
                key=name,
            )
