"""Non-inferiority: whether the cost of a filter is shown to be smaller than a declared margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.comparison.statistics import Contrast
from winnow.errors import WinnowError

MARGIN = 0.05
"""Default margin of the cost, in nats per masked token."""

ALPHA = 0.025
"""Default one-sided level, that of one tail of a 95% interval."""


@dataclass(frozen=True)
class Guard:
    """A one-sided test that a cost is below a margin.

    Attributes:
        cost: How much worse the filter's arm is, in units of the metric; negative if it is better.
        bound: The one-sided upper confidence bound of the cost.
        margin: The cost that is just too large.
        alpha: The one-sided level.
        p_value: p value of "the cost is at least the margin"; ``nan`` if no spread could be estimated.
        passed: Whether the cost is shown to be below the margin.
        exceeded: Whether the cost is shown to be above the margin, at the same level.
    """

    cost: float
    bound: float
    margin: float
    alpha: float
    p_value: float
    passed: bool
    exceeded: bool


def guard(result: Contrast, margin: float = MARGIN, alpha: float = ALPHA, higher_is_better: bool = False) -> Guard:
    """Test whether arm a is not worse than arm b by a margin or more.

    The null hypothesis is ``cost >= margin``. It is rejected if ``(cost - margin) / std_error`` is below the alpha
    quantile of Student's t with the degrees of freedom of the contrast, which is when the upper bound of the cost is
    below the margin. An interval that reaches beyond the margin is not a pass, however large the p value of the
    difference is (Schuirmann 1987; CONSORT extension for non-inferiority trials, Piaggio et al. 2012, JAMA 308:2594).

    Args:
        result: The contrast of the filter with the baseline in the guard metric.
        margin: The margin in units of the metric, above 0; the default is for a loss in nats.
        alpha: The one-sided level.
        higher_is_better: Whether a larger value of the metric is the better one.

    Raises:
        WinnowError: The margin is not above 0, or alpha is not between 0 and 0.5.
    """
    from scipy.stats import t

    if not (math.isfinite(margin) and margin > 0):
        raise WinnowError(f"margin: expected a finite number above 0, got {margin:g}.", key="margin")
    if not 0 < alpha < 0.5:
        raise WinnowError(f"alpha: expected a one-sided level between 0 and 0.5, got {alpha:g}.", key="alpha")
    cost = -result.difference if higher_is_better else result.difference
    if math.isnan(result.p_value):
        return Guard(cost, math.nan, margin, alpha, math.nan, passed=False, exceeded=False)
    reach = float(t.ppf(1 - alpha, result.df)) * result.std_error
    p_value = float(t.cdf((cost - margin) / result.std_error, result.df))
    return Guard(cost, cost + reach, margin, alpha, p_value, p_value <= alpha, cost - reach > margin)


def intersection_union(p_values: Sequence[float]) -> float:
    """Return the p value of "not all of these hold": the largest one, ``nan`` if one is.

    A claim that needs every endpoint may test each at the full level (Berger 1982, Technometrics 24:295). So endpoints
    are not corrected for each other; each is adjusted over the filters under test only.

    >>> intersection_union([0.001, 0.02])
    0.02

    Raises:
        WinnowError: There is no p value.
    """
    if not p_values:
        raise WinnowError("p_values: expected at least one endpoint, got none.", key="p_values")
    return math.nan if any(map(math.isnan, p_values)) else max(p_values)
