"""Test for non-inferiority: whether the cost of a filter is smaller than a declared margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.comparison.contrast_statistics import Contrast
from winnow.comparison.distributions import t_cdf, t_quantile
from winnow.errors import WinnowError

DEFAULT_MARGIN = 0.05
"""The default margin of the cost, in nats per masked token."""

DEFAULT_ALPHA = 0.025
"""The default one-sided level, equal to one tail of a 95% interval."""


@dataclass(frozen=True)
class NonInferiorityResult:
    """The result of a one-sided test that a cost is below a margin.

    Attributes:
        cost: How much worse arm a is than arm b, in units of the metric; negative if arm a is better.
        bound: The one-sided upper confidence bound of the cost.
        margin: The smallest cost that is unacceptable.
        alpha: The one-sided level.
        p_value: The p-value of the null hypothesis "the cost is at least the margin"; ``nan`` if the variance cannot be
            estimated.
        passed: Whether the cost is significantly below the margin.
        exceeded: Whether the cost is significantly above the margin, at the same level.
    """

    cost: float
    bound: float
    margin: float
    alpha: float
    p_value: float
    passed: bool
    exceeded: bool


def check_non_inferiority(
    result: Contrast, margin: float = DEFAULT_MARGIN, alpha: float = DEFAULT_ALPHA, higher_is_better: bool = False
) -> NonInferiorityResult:
    """Test whether arm a is worse than arm b by less than a margin.

    The null hypothesis is ``cost >= margin``. It is rejected if ``(cost - margin) / std_error`` is below the alpha
    quantile of Student's t distribution with the degrees of freedom of the contrast. Equivalently, the upper bound of
    the cost is below the margin. If the interval includes the margin, the test does not pass, even if the difference
    itself is not significant (Schuirmann 1987; CONSORT extension for non-inferiority trials, Piaggio et al.
    2012, JAMA 308:2594).

    Args:
        result: The contrast between the filter and the baseline on the guard metric.
        margin: The margin in units of the metric, above 0. The default is for a loss in nats.
        alpha: The one-sided level.
        higher_is_better: Whether larger values of the metric are better.

    Raises:
        WinnowError: If the margin is not above 0, or if alpha is not between 0 and 0.5.
    """
    if not (math.isfinite(margin) and margin > 0):
        raise WinnowError(
            f"expected a finite number above 0, got {margin:g}. Example: {DEFAULT_MARGIN:g}.", key="margin"
        )
    if not 0 < alpha < 0.5:
        raise WinnowError(
            f"expected a one-sided level between 0 and 0.5, got {alpha:g}. Example: {DEFAULT_ALPHA:g}.", key="alpha"
        )
    cost = -result.difference if higher_is_better else result.difference
    if math.isnan(result.p_value):
        return NonInferiorityResult(cost, math.nan, margin, alpha, math.nan, passed=False, exceeded=False)
    half_width = t_quantile(1 - alpha, result.df) * result.std_error
    p_value = t_cdf((cost - margin) / result.std_error, result.df)
    return NonInferiorityResult(
        cost, cost + half_width, margin, alpha, p_value, p_value <= alpha, cost - half_width > margin
    )


def intersection_union(p_values: Sequence[float]) -> float:
    """Return the p-value of an intersection-union test: the largest p-value, or ``nan`` if any of them is ``nan``.

    If a claim requires all endpoints, each endpoint can be tested at the full level (Berger 1982, Technometrics
    24:295). The p-values are therefore adjusted for the number of filters, but not for the number of endpoints.

    >>> intersection_union([0.001, 0.02])
    0.02

    Raises:
        WinnowError: If ``p_values`` is empty.
    """
    if not p_values:
        raise WinnowError("expected at least one p-value, got none. Pass one per endpoint.", key="p_values")
    return math.nan if any(map(math.isnan, p_values)) else max(p_values)
