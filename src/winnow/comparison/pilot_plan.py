"""Plan the size of a study from a pilot, including the uncertainty of the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.comparison.crossed_design import Array, CrossedScores
from winnow.comparison.pilot_variance import draw_components, estimate_pilot_terms, predict_power
from winnow.comparison.power_analysis import seeds_needed, smallest_detectable_difference
from winnow.comparison.variance_components import VarianceComponents, solve_components

DRAWS = 300
"""The number of draws from the distribution of the variance components given the pilot."""

MIN_SEEDS = 5
"""The smallest number of seeds per arm in a plan."""

SEED_COUNTS = (5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200)
"""The numbers of seeds per arm that are considered."""

LEVEL_FACTORS = (1, 1.5, 2, 3, 4, 6, 8)
"""The numbers of levels that are considered, such as the number of templates, relative to the pilot."""

RELIABILITY = 0.85
"""The probability with which the power of a planned study is at least the planned power minus ``MAX_SHORTFALL``."""

MAX_SHORTFALL = 0.1


@dataclass(frozen=True)
class PlannedPower:
    """The predicted power of a study with a given number of seeds.

    Attributes:
        seeds: Seeds per arm.
        levels: The number of levels of each factor of the items, such as the template.
        power: The median of the power given the pilot.
        low: The power that is reached with a probability of 85%.
        high: The power that is reached with a probability of 15%.
        smallest_difference: The smallest difference that is detected with the target power if the variances of the
            pilot are exact.
    """

    seeds: int
    levels: Mapping[str, int]
    power: float
    low: float
    high: float
    smallest_difference: float

    def is_reliable(self, target_power: float) -> bool:
        """Return whether the median reaches the target, and the lower bound is at most ``MAX_SHORTFALL`` below it."""
        return self.power >= target_power and self.low >= self.power - MAX_SHORTFALL


@dataclass(frozen=True)
class PilotPlan:
    """The size of a study that detects a difference with the target power.

    Attributes:
        difference: The true difference to detect.
        target_power: The target power.
        alpha: The level of the test.
        pilot_seeds: Seeds per arm of the pilot.
        levels: The number of levels of each factor in the pilot.
        items: The number of prompts or rows in the pilot.
        seeds_if_exact: The number of seeds per arm if the variances of the pilot are exact; ``None`` if more levels
            are needed.
        recommended: The smallest study whose power is reliable; ``None`` if there is none within the limits.
        curve: The predicted power for every number of seeds, with the levels of the pilot.
        components: The variance components of the pilot.
    """

    difference: float
    target_power: float
    alpha: float
    pilot_seeds: int
    levels: Mapping[str, int]
    items: int
    seeds_if_exact: int | None
    recommended: PlannedPower | None
    curve: Sequence[PlannedPower]
    components: VarianceComponents

    def count_items(self, levels: Mapping[str, int]) -> int:
        """Return the number of prompts or rows of a study with other numbers of levels."""
        scale = math.prod(count / self.levels[name] for name, count in levels.items())
        return round(self.items * scale)


class PilotPlanner:
    """Predicts the power of studies from a pilot.

    Args:
        crossed: The scores of the two arms of the planned contrast.
        seed_means: The mean scores of all runs of the pilot, of shape (arms, seeds), or ``None``; see
            :func:`winnow.comparison.pilot_variance.estimate_pilot_terms`.
        difference: The true difference to detect.
        target_power: The target power.
        alpha: The level of the test.
        draws: The number of draws from the distribution of the variance components.
    """

    def __init__(
        self,
        crossed: CrossedScores,
        seed_means: Array | None,
        difference: float,
        target_power: float = 0.8,
        alpha: float = 0.05,
        draws: int = DRAWS,
    ) -> None:
        terms = estimate_pilot_terms(crossed, seed_means)
        self.components = solve_components(crossed, terms)
        self.draws = draw_components(crossed, terms, draws, np.random.default_rng(0))
        self.levels = self.components.levels
        self._crossed, self._difference, self._target, self._alpha = crossed, difference, target_power, alpha

    def predict(self, seeds: int, levels: Mapping[str, int] | None = None) -> PlannedPower:
        """Return the predicted power of a study."""
        powers = predict_power(self.draws, self._difference, seeds, self._alpha, levels)
        low, median, high = np.quantile(powers, [1 - RELIABILITY, 0.5, RELIABILITY]).tolist()
        smallest = smallest_detectable_difference(self.components, seeds, self._target, self._alpha, levels)
        return PlannedPower(seeds, dict(self.levels | dict(levels or {})), median, low, high, smallest)

    def plan(self, max_seeds: int = 50) -> PilotPlan:
        """Return the smallest reliable study, with the fewest additional levels and then the fewest seeds."""
        counts = [count for count in SEED_COUNTS if count <= max_seeds] or [max_seeds]
        return PilotPlan(
            difference=self._difference,
            target_power=self._target,
            alpha=self._alpha,
            pilot_seeds=min(len(scores) for _, scores, _ in self._crossed.samples),
            levels=self.levels,
            items=self._crossed.weights.size,
            seeds_if_exact=seeds_needed(self.components, self._difference, self._target, self._alpha),
            recommended=self.recommend(counts),
            curve=[self.predict(count) for count in counts],
            components=self.components,
        )

    def recommend(self, counts: Sequence[int]) -> PlannedPower | None:
        """Return the smallest reliable study with one of the given numbers of seeds, or ``None`` if there is none."""
        for levels in self._list_levels():
            if not self.predict(counts[-1], levels).is_reliable(self._target):
                continue
            low, high = 0, len(counts) - 1
            while low < high:
                middle = (low + high) // 2
                is_reliable = self.predict(counts[middle], levels).is_reliable(self._target)
                low, high = (low, middle) if is_reliable else (middle + 1, high)
            return self.predict(counts[low], levels)
        return None

    def _list_levels(self) -> list[dict[str, int]]:
        """Return the numbers of levels to consider: more templates, or more levels of the factor that varies most."""
        if not self.levels:
            return [{}]
        between = {factor.name: factor.between / factor.levels for factor in self.components.factors}
        name = "template" if "template" in self.levels else max(self.levels, key=lambda key: between.get(key, 0.0))
        return [{name: math.ceil(factor * self.levels[name])} for factor in LEVEL_FACTORS]
