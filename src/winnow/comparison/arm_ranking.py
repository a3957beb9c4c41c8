"""Find the arms that cannot be distinguished from the best arm, and intervals for the ranks of all arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from winnow.comparison.arm_estimates import ArmEstimates
from winnow.comparison.contrast_statistics import check_confidence
from winnow.comparison.simultaneous_tests import simulate_null

DRAWS = 2_000
"""The number of simulated studies. One simulation per arm is needed, so there are fewer than for other tests."""


@dataclass(frozen=True)
class ArmRanking:
    """The ranks of arms. Rank 1 is the best.

    Attributes:
        best_set: The arms that may be the best one, best estimate first. With the given confidence, the set contains an
            arm with the best true mean.
        ranks: The rank of each arm's estimate.
        rank_intervals: The smallest and the largest rank that each arm may have. With the given confidence, all
            intervals contain the true ranks.
    """

    best_set: tuple[str, ...]
    ranks: dict[str, int]
    rank_intervals: dict[str, tuple[int, int]]


def rank_arms(
    estimates: ArmEstimates,
    arms: Sequence[str],
    higher_is_better: bool = True,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> ArmRanking:
    """Rank arms by their means.

    An arm is excluded from the set of best arms if one of the other arms is significantly better, in one-sided tests
    that are adjusted over the other arms (Hsu 1984, Annals of Statistics 12:1136). No correction over the excluded arms
    is needed, because the set misses the best arm only if this arm is excluded. The rank intervals count the other
    arms whose simultaneous interval of the difference excludes 0, over all pairs of arms (Al Mohamad, Goeman
    and van Zwet 2022, Biometrics 78:238).

    Args:
        estimates: The estimates of the arms.
        arms: The arms to rank; other arms are ignored.
        higher_is_better: Whether a larger mean is better.
        confidence: Coverage of the set and joint coverage of the rank intervals.
        draws: The number of simulated studies for the joint distribution.
        seed: The seed of the simulation.
    """
    check_confidence(confidence)
    columns = [estimates.arms.index(arm) for arm in arms]
    sign = 1.0 if higher_is_better else -1.0
    order = np.argsort(-sign * estimates.means[columns], kind="stable")
    is_candidate = [may_be_best(estimates, arms, arm, higher_is_better, confidence, draws, seed) for arm in arms]
    return ArmRanking(
        best_set=tuple(arms[index] for index in order if is_candidate[index]),
        ranks={arms[index]: rank for rank, index in enumerate(order, start=1)},
        rank_intervals=_find_rank_intervals(estimates, arms, sign, 1 - confidence, draws, seed),
    )


def may_be_best(
    estimates: ArmEstimates,
    arms: Sequence[str],
    arm: str,
    higher_is_better: bool = True,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> bool:
    """Return whether no other arm is significantly better than the given arm; see :func:`rank_arms`."""
    sign, alpha = (1.0 if higher_is_better else -1.0), 1 - confidence
    others = [other for other in arms if other != arm]
    coefficients = estimates.build_coefficients([{other: sign, arm: -sign} for other in others])
    effects = estimates.estimate(coefficients)
    if not (effects.p_positive <= alpha).any():  # adjusted p-values are not smaller
        return True
    null = simulate_null(estimates, coefficients, draws, seed)
    return not (null.adjust(effects.p_positive, two_sided=False) <= alpha).any()


def _find_rank_intervals(
    estimates: ArmEstimates, arms: Sequence[str], sign: float, alpha: float, draws: int, seed: int
) -> dict[str, tuple[int, int]]:
    pairs = [(a, b) for index, a in enumerate(arms) for b in arms[index + 1 :]]
    lowest, highest = dict.fromkeys(arms, 1), dict.fromkeys(arms, len(arms))
    if pairs:
        coefficients = estimates.build_coefficients([{a: sign, b: -sign} for a, b in pairs])
        effects = estimates.estimate(coefficients)
        level = simulate_null(estimates, coefficients, draws, seed).find_level(alpha)
        for (a, b), p, difference in zip(pairs, effects.p_value, effects.estimate, strict=True):
            if p <= level:
                better, worse = (a, b) if difference > 0 else (b, a)
                lowest[worse] += 1
                highest[better] -= 1
    return {arm: (lowest[arm], highest[arm]) for arm in arms}
