"""Simulate studies with interim looks, which stop as soon as a look is significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from winnow.comparison.crossed_design import Array
from winnow.comparison.difference_variance import SEEDS
from winnow.comparison.interim_looks import InterimLooks
from winnow.comparison.variance_components import VarianceComponents

STUDIES_PER_DRAW = 10
"""The number of simulated studies per draw of the variance components."""


@dataclass(frozen=True)
class EarlyStopping:
    """The expected cost of a study that stops at the first significant interim look.

    Attributes:
        seeds: Seeds per arm at each look.
        levels: The level of the test at each look.
        stopped: The probability of stopping at each look. The last value includes studies that are never significant.
        power: The probability that any look is significant.
        expected_seeds: The mean number of seeds per arm.
        expected_seeds_without_effect: The mean number of seeds per arm if there is no true difference.
    """

    seeds: Sequence[int]
    levels: Sequence[float]
    stopped: Sequence[float]
    power: float
    expected_seeds: float
    expected_seeds_without_effect: float


def simulate_early_stopping(
    draws: Sequence[VarianceComponents], difference: float, looks: Sequence[int], alpha: float = 0.05
) -> EarlyStopping:
    """Simulate studies with interim looks for each of several variance components.

    All looks of a study share the items, so the variance between items does not shrink from look to look.

    Args:
        draws: The variance components, such as the draws of
            :func:`winnow.comparison.pilot_variance.draw_components`.
        difference: The true difference.
        looks: Seeds per arm at each look.
        alpha: The level of the study.

    Raises:
        WinnowError: If the looks are invalid (key ``looks``).
    """
    plan = InterimLooks(tuple(looks), alpha)
    first_significant = _find_first_significant(draws, difference, plan, np.random.default_rng(1))
    first_without_effect = _find_first_significant(draws, 0.0, plan, np.random.default_rng(2))
    last = len(plan.seeds) - 1
    seeds = np.array(plan.seeds, dtype=np.float64)
    stops = np.minimum(first_significant, last)
    return EarlyStopping(
        seeds=list(plan.seeds),
        levels=list(plan.levels),
        stopped=[float((stops == look).mean()) for look in range(last + 1)],
        power=float((first_significant <= last).mean()),
        expected_seeds=float(seeds[stops].mean()),
        expected_seeds_without_effect=float(seeds[np.minimum(first_without_effect, last)].mean()),
    )


def _find_first_significant(
    draws: Sequence[VarianceComponents], difference: float, looks: InterimLooks, rng: np.random.Generator
) -> Array:
    """Return the index of the first significant look of each study, or the number of looks if there is none."""
    from scipy.special import stdtr

    most = looks.seeds[-1]
    parameters = np.array([_split_variance(component, most) for component in draws])
    per_seed, between, item_df, samples = np.repeat(parameters, STUDIES_PER_DRAW, axis=0).T
    studies = len(per_seed)
    seed_effects = np.sqrt(per_seed)[:, None] * rng.standard_normal((studies, most))
    item_effect = np.sqrt(between) * rng.standard_normal(studies)
    item_estimate = between * rng.chisquare(item_df) / item_df
    first = np.full(studies, len(looks.seeds))
    for index, (n, level) in enumerate(zip(looks.seeds, looks.levels, strict=True)):
        estimate = difference + item_effect + seed_effects[:, :n].mean(axis=1)
        seed_df = samples * (n - 1)
        seed_estimate = per_seed / n * rng.chisquare(seed_df) / seed_df
        seed_estimate = np.where(samples == 1, seed_effects[:, :n].var(axis=1, ddof=1) / n, seed_estimate)
        variance = seed_estimate + item_estimate
        df = variance**2 / (seed_estimate**2 / seed_df + item_estimate**2 / item_df)
        p_values = 2 * stdtr(df, -np.abs(estimate) / np.sqrt(variance))
        first = np.where((p_values <= level) & (first == len(looks.seeds)), index, first)
    return first


def _split_variance(components: VarianceComponents, seeds: int) -> tuple[float, float, float, float]:
    """Return the variance per seed, the variance between items, its degrees of freedom, and the number of samples."""
    terms = components.terms(seeds)
    per_seed = seeds * sum(float(term.value) for term in terms if term.source == SEEDS)
    total = sum(float(term.value) for term in terms)
    item_terms = [term for term in terms if term.is_main and term.source != SEEDS and float(term.value) > 0]
    squares = sum(float(term.value) ** 2 / term.df for term in item_terms)
    item_sum = sum(float(term.value) for term in item_terms)
    samples = 2.0 if components.seed_b > 0 or components.error_b > 0 else 1.0
    tiny = float(np.finfo(np.float64).tiny)
    return max(per_seed, tiny), max(total - per_seed / seeds, tiny), item_sum**2 / squares if squares else 1.0, samples
