"""Test whether the effect of a filter changes with its dose, such as the fraction of rows that it keeps."""

from __future__ import annotations

from collections.abc import Mapping

from winnow.comparison.arm_estimates import ArmEstimates
from winnow.comparison.simultaneous_tests import AdjustedEffect, estimate_calibrated
from winnow.errors import WinnowError


def estimate_trend(
    estimates: ArmEstimates,
    doses: Mapping[str, float],
    controls: Mapping[str, str] | None = None,
    confidence: float = 0.95,
) -> AdjustedEffect:
    """Estimate and test the slope of a straight line through the effects at several doses.

    The slope is a single contrast between the arms, so the test needs no adjustment, but it is calibrated; see
    :func:`winnow.comparison.simultaneous_tests.estimate_calibrated`. The baseline cancels out. The test detects effects
    that mostly increase or mostly decrease with the dose. It has little power if the effect is largest at an
    intermediate dose.

    Args:
        estimates: The estimates of the arms.
        doses: The dose of each arm, such as the fraction of rows that it keeps.
        controls: The control of each arm. If given, the line is fitted to the differences between each arm and its
            control instead of the differences between each arm and the baseline.
        confidence: Coverage of the interval of the slope.

    Returns:
        The slope, in units of the metric per unit of the dose.

    Raises:
        WinnowError: If there are fewer than 3 different doses (key ``doses``).
    """
    if (count := len(set(doses.values()))) < 3:
        raise WinnowError(f"expected at least 3 different doses, got {count}. Add a dose to the sweep.", key="doses")
    return estimate_calibrated(estimates, build_slope_contrast(doses, controls), confidence)


def build_slope_contrast(doses: Mapping[str, float], controls: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the coefficient of each arm in the least-squares slope; see :func:`estimate_trend`."""
    mean = sum(doses.values()) / len(doses)
    scale = sum((dose - mean) ** 2 for dose in doses.values())
    coefficients = {arm: (dose - mean) / scale for arm, dose in doses.items()}
    for arm, control in (controls or {}).items():
        coefficients[control] = coefficients.get(control, 0.0) - coefficients[arm]
    return coefficients
