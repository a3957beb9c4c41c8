"""Student's t and chi-squared distributions, computed with `scipy.special` because importing `scipy.stats` is slow.

The formulas and results are the same as those of `scipy.stats`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def t_quantile(probability: float, df: float) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def t_cdf(x: float, df: float) -> float:
    """Return the probability that a variable with Student's t distribution is at most ``x``."""
    from scipy.special import stdtr

    return float(stdtr(df, x))


def chi2_tail_quantiles(probability: float, df: float) -> tuple[float, float]:
    """Return the lower and upper quantiles: each tail of the chi-squared distribution has the given probability."""
    from scipy.special import chdtri, gammaincinv

    return float(2 * gammaincinv(df / 2, probability)), float(chdtri(df, probability))


def chi2_density(x: Any, df: float) -> Any:
    """Return the density of the chi-squared distribution for each element of ``x``."""
    from scipy.special import gammaln, xlogy

    return np.exp(xlogy(df / 2 - 1, x) - x / 2 - gammaln(df / 2) - (math.log(2) * df) / 2)


def t_quantiles(probability: float | Any, df: Any) -> Any:
    """Return the quantiles of Student's t distribution for arrays of probabilities and degrees of freedom."""
    from scipy.special import stdtrit

    return stdtrit(df, probability)


def t_tail_probabilities(x: Any, df: Any) -> Any:
    """Return the probability that a variable with Student's t distribution exceeds each element of ``x``."""
    from scipy.special import stdtr

    return stdtr(df, -np.asarray(x))
