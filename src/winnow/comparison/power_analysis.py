"""How many seeds or templates a firm answer takes, planned from the variance components of a study."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from winnow.comparison.variance_components import Components
from winnow.errors import WinnowError

MOST_SEEDS = 1000
"""Seeds per arm beyond which a plan is of no use."""

MOST_LEVELS = 10_000
"""Levels of a factor beyond which a plan is of no use."""

NODES = 200
"""Nodes of the Gauss-Legendre rule over the estimated standard error."""


def power(
    found: Components,
    size: float,
    seeds: int,
    items: int | None = None,
    alpha: float = 0.05,
    levels: dict[str, int] | None = None,
) -> float:
    """Return the probability that the two-sided test at level ``alpha`` finds a true difference of ``size``.

    It is the power of the t test with Satterthwaite's degrees of freedom at the expected mean squares, integrated
    numerically over the estimated standard error: SciPy's noncentral t is not a number for large shifts.

    Args:
        found: The variance components.
        size: The true difference, in units of the metric.
        seeds: Seeds per arm, at least 2.
        items: Prompts or rows; the default is those of ``found``.
        alpha: Level of the test.
        levels: Levels of factors, such as ``{"template": 40}``; the default is those of ``found``.

    Raises:
        WinnowError: A number is out of range.
    """
    _check(alpha=alpha)
    if seeds < 2:
        raise WinnowError(f"seeds: expected at least 2, got {seeds}.", key="seeds")
    terms = found.terms(seeds, items, levels)
    variance = sum(float(term.value) for term in terms)
    if variance <= 0:
        return 1.0 if size else alpha
    df = variance**2 / sum(float(term.value) ** 2 / term.df for term in terms)
    return t_power(abs(size) / math.sqrt(variance), df, alpha)


def t_power(shift: float, df: float, alpha: float) -> float:
    """Return the power of the two-sided t test at a shift in standard errors.

    With s the estimated over the true standard error, ``df s^2`` has a chi-squared distribution, and the power is the
    mean over s of ``Phi(shift - c s) + Phi(-shift - c s)`` (Johnson, Kotz and Balakrishnan 1995, Continuous Univariate
    Distributions 2, chapter 31).

    >>> round(t_power(1.0 / 0.2**0.5, 18, 0.05), 3)
    0.562
    """
    from scipy.stats import chi2, norm, t

    if math.isinf(shift):
        return 1.0
    limit = float(t.ppf(1 - alpha / 2, df))
    low, high = (math.sqrt(float(q) / df) for q in (chi2.ppf(1e-13, df), chi2.isf(1e-13, df)))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    s = low + (high - low) * (nodes + 1) / 2
    density = 2 * df * s * chi2.pdf(df * s**2, df)
    mass = weights * density
    found = float(mass @ (norm.cdf(shift - limit * s) + norm.cdf(-shift - limit * s)) / mass.sum())
    return min(1.0, max(0.0, found))


def seeds_needed(found: Components, size: float, chance: float = 0.8, alpha: float = 0.05) -> int | None:
    """Return the fewest seeds per arm that find a true difference of ``size`` with the given probability.

    Prompts or rows stay as they are. The answer is ``None`` if even ``MOST_SEEDS`` seeds are not enough because of the
    variance between the items: then it takes more prompts, see :func:`levels_needed`.

    Raises:
        WinnowError: The size is 0 or not finite, or the probability is not between 0 and 1.
    """
    _check(size, chance, alpha)
    return _fewest(lambda seeds: power(found, size, seeds, alpha=alpha) >= chance, 2, MOST_SEEDS)


def levels_needed(
    found: Components, size: float, seeds: int, factor: str = "template", chance: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return the fewest levels of a factor that find a true difference of ``size`` with the given probability.

    Seeds and the levels of other factors stay as they are. The answer is ``None`` if even ``MOST_LEVELS`` are not
    enough because of the other variance components.

    Raises:
        WinnowError: There is no such factor, the size is 0 or not finite, or the probability is not between 0 and 1.
    """
    _check(size, chance, alpha)
    return _fewest(lambda n: power(found, size, seeds, alpha=alpha, levels={factor: n}) >= chance, 2, MOST_LEVELS)


def smallest_difference(found: Components, seeds: int, chance: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest true difference that a study of so many seeds per arm finds with the given probability.

    Args:
        found: The variance components; the items stay as they are.
        seeds: Seeds per arm, at least 2.
        chance: The power.
        alpha: Level of the two-sided test.

    Returns:
        The difference in units of the metric, to a thousandth of itself; 0 if nothing varies.

    Raises:
        WinnowError: A number is out of range.
    """
    _check(chance=chance, alpha=alpha)
    variance = sum(float(term.value) for term in found.terms(seeds))
    if variance <= 0:
        return 0.0
    low, high = 0.0, math.sqrt(variance)
    while power(found, high, seeds, alpha=alpha) < chance:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(found, middle, seeds, alpha=alpha) >= chance else (middle, high)
    return high


def _fewest(enough: Callable[[int], bool], few: int, many: int) -> int | None:
    """Return the smallest number that is enough by bisection; more never make a difference harder to find."""
    if not enough(many):
        return None
    while few < many:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle + 1, many)
    return few


def _check(size: float = 1.0, chance: float = 0.5, alpha: float = 0.05) -> None:
    if not size or not math.isfinite(size):
        raise WinnowError(f"size: expected the size of a difference, finite and not 0, got {size}.", key="size")
    for name, value in (("chance", chance), ("alpha", alpha)):
        if not 0 < value < 1:
            raise WinnowError(f"{name}: expected a number between 0 and 1, got {value:g}.", key=name)
