"""The effect of a filter at each level of a factor, such as the learning rate, its average and the interaction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from winnow.comparison.arm_estimates import ArmEstimates
from winnow.comparison.simultaneous_tests import DRAWS, AdjustedEffect, estimate_calibrated, estimate_jointly
from winnow.errors import WinnowError


@dataclass(frozen=True)
class FactorEffects:
    """The effect of a filter at each level of a factor.

    Attributes:
        levels: The effect at each level, adjusted over the levels.
        average: The unweighted mean of the effects over the levels. The levels are fixed: the average describes these
            levels, not other values of the factor.
        interactions: For each pair of levels, the effect at the first level minus the effect at the second level,
            adjusted over the pairs.
        interaction_p: The p-value of the null hypothesis that the effect is the same at all levels; ``nan`` if no
            variance can be estimated. It is the smallest adjusted p-value of ``interactions``.
    """

    levels: dict[str, AdjustedEffect]
    average: AdjustedEffect
    interactions: dict[tuple[str, str], AdjustedEffect]
    interaction_p: float


def estimate_factor_effects(
    estimates: ArmEstimates,
    pairs: Mapping[str, tuple[str, str]],
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> FactorEffects:
    """Estimate the effect of a filter at each level of a factor, its average and the interaction.

    All results use the procedure of :func:`winnow.comparison.contrast`: if seeds are blocks, the runs of one seed at
    all levels belong together. The interaction of two levels is calibrated; see
    :func:`winnow.comparison.simultaneous_tests.estimate_calibrated`.

    Args:
        estimates: The estimates of the arms. Each combination of an arm and a level is one arm.
        pairs: For each level, the names of the filter's arm and of the baseline's arm at this level.
        confidence: Joint coverage of the intervals of each family: the levels, and the pairs of levels.
        draws: The number of simulated studies for the joint distribution.
        seed: The seed of the simulation.

    Raises:
        WinnowError: If there are fewer than 2 levels (key ``levels``).
    """
    if len(pairs) < 2:
        raise WinnowError(f"expected at least 2 levels, got {len(pairs)}. Add a level of the factor.", key="levels")
    effects = {level: {a: 1.0, b: -1.0} for level, (a, b) in pairs.items()}
    average = _combine({level: 1 / len(pairs) for level in pairs}, effects)
    differences = {(a, b): _combine({a: 1.0, b: -1.0}, effects) for a, b in combinations(pairs, 2)}
    if len(differences) > 1:
        interactions = estimate_jointly(estimates, differences, confidence, draws, seed)
    else:
        interactions = {
            pair: estimate_calibrated(estimates, contrast, confidence, draws, seed)
            for pair, contrast in differences.items()
        }
    p_values = [effect.p_adjusted for effect in interactions.values() if not math.isnan(effect.p_adjusted)]
    return FactorEffects(
        levels=estimate_jointly(estimates, effects, confidence, draws, seed),
        average=estimate_jointly(estimates, {"average": average}, confidence)["average"],
        interactions=interactions,
        interaction_p=min(p_values, default=math.nan),
    )


def _combine(weights: Mapping[str, float], effects: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the coefficients of a weighted sum of effects. Several effects may share an arm."""
    coefficients: dict[str, float] = {}
    for level, weight in weights.items():
        for arm, value in effects[level].items():
            coefficients[arm] = coefficients.get(arm, 0.0) + weight * value
    return coefficients
