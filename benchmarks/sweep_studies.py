"""Simulated studies with many arms, drawn as the estimates that the library computes from the scores.

In balanced data with normal effects, the means of the arms are independent of their mean squares and products, which
are Wishart matrices. A study is therefore drawn as `winnow.comparison.arm_estimates.ArmEstimates`, and every procedure
of the report can be applied to it. `check` compares this route with estimates from scores that are drawn one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.comparison.arm_estimates import BLOCKS, ArmEstimates, MatrixTerm, estimate_arms
from winnow.comparison.crossed_design import ArmScores
from winnow.comparison.difference_variance import RESIDUAL, SEEDS

Array = NDArray[np.float64]

TEMPLATES, PRODUCTS = 24, 14


@dataclass(frozen=True)
class ArmVariances:
    """The variance components of every arm, for 24 templates x 14 products; a difference has twice these variances.

    The defaults are half of those of the demo of version 0.2 (`benchmarks/clustered_studies.py`), in which templates
    are 92% of the variance between prompts.

    Attributes:
        seed: Variance between seeds, beyond what all arms share.
        template: Variance of the arm's effect across templates.
        product: Variance of the arm's effect across products.
        prompt: Variance of the arm's effect across prompts, beyond templates and products.
        seed_template: Variance of the interaction of seeds and templates.
        seed_product: Variance of the interaction of seeds and products.
        error: Residual variance of a single score.
        scale: A factor for all variances of each arm, relative to the other arms.
        shared: The fraction of the effects across templates and products that all arms other than the first share.
    """

    seed: float = 0.030
    template: float = 0.165
    product: float = 0.005
    prompt: float = 0.006
    seed_template: float = 0.015
    seed_product: float = 0.002
    error: float = 0.010
    scale: tuple[float, ...] = ()
    shared: float = 0.0

    def correlate_arms(self, arms: int, of_items: bool) -> Array:
        """Return the covariance matrix of the arms' effects, relative to the variance of one arm."""
        covariance = np.diag(np.resize(np.array(self.scale or (1.0,)), arms))
        if of_items and self.shared:
            roots = np.sqrt(np.diag(covariance)[1:])
            covariance[1:, 1:] *= 1 - self.shared
            covariance[1:, 1:] += self.shared * np.outer(roots, roots)
        return covariance

    def list_terms(self, seeds: int) -> list[tuple[str, str, float, float, float]]:
        """Return source, sample, variance of item effects, variance of seeds and degrees of freedom of each term.

        The variances are those of an arm's mean. Item effects may be shared by arms; seeds are not.
        """
        count, residual_df = TEMPLATES * PRODUCTS, (TEMPLATES - 1) * (PRODUCTS - 1)
        error = self.error / count
        interactions = self.seed_template / TEMPLATES + self.seed_product / PRODUCTS + error
        terms: list[tuple[str, str, float, float, float]] = [
            (SEEDS, BLOCKS, 0.0, (self.seed + interactions) / seeds, seeds - 1)
        ]
        factors = (
            ("template", TEMPLATES, self.template, self.seed_template),
            ("product", PRODUCTS, self.product, self.seed_product),
        )
        for name, levels, between, by_seed in factors:
            item, seed = between / levels + self.prompt / count, (by_seed / levels + error) / seeds
            terms.append((name, "", item, seed, levels - 1))
            terms.append((name, BLOCKS, 0.0, -seed, (seeds - 1) * (levels - 1)))
        terms.append((RESIDUAL, "", -self.prompt / count, -error / seeds, residual_df))
        terms.append((RESIDUAL, BLOCKS, 0.0, error / seeds, (seeds - 1) * residual_df))
        return terms

    def expect_matrices(self, arms: int, seeds: int) -> list[MatrixTerm]:
        """Return the expected terms of the covariance matrix of the arms' means."""
        items, runs = self.correlate_arms(arms, of_items=True), self.correlate_arms(arms, of_items=False)
        return [
            MatrixTerm(source, sample, item * items + seed * runs, df)
            for source, sample, item, seed, df in self.list_terms(seeds)
        ]


DEMO = ArmVariances()
SEEDS_ONLY = ArmVariances(template=0.0, product=0.0, prompt=0.0)
UNEQUAL = ArmVariances(seed=0.09, template=0.03, scale=(0.25, 1.0, 4.0))
SIMILAR = ArmVariances(seed=0.010, shared=0.8)
SCENARIOS = {
    "demo": DEMO,
    "no template effect": SEEDS_ONLY,
    "variances that differ up to 16-fold": UNEQUAL,
    "similar filters": SIMILAR,
}


@dataclass(frozen=True)
class StudySimulator:
    """Draws studies with given variances.

    Attributes:
        arms: The names of the arms.
        expected: The expected terms of the covariance matrix of the arms' means.
    """

    arms: tuple[str, ...]
    expected: Sequence[MatrixTerm]

    @classmethod
    def build(cls, arms: Sequence[str], variances: ArmVariances, seeds: int = 5) -> StudySimulator:
        """Build the simulator of studies with the given arms and number of seeds."""
        return cls(tuple(arms), variances.expect_matrices(len(arms), seeds))

    @property
    def covariance(self) -> Array:
        """The covariance matrix of the arms' means."""
        return np.sum([term.matrix for term in self.expected], axis=0)

    def draw(self, rng: np.random.Generator, effects: Array | float = 0.0) -> ArmEstimates:
        """Draw the estimates of one study."""
        terms, size = [], len(self.arms)
        for term in self.expected:
            sign = -1.0 if np.trace(term.matrix) < 0 else 1.0
            root = _take_root(sign * term.matrix)
            values = rng.standard_normal((int(term.df), size)) @ root
            terms.append(replace(term, matrix=sign * values.T @ values / term.df))
        means = rng.standard_normal(size) @ _take_root(self.covariance) + effects
        return ArmEstimates(self.arms, means, tuple(terms))

    def draw_contrast(
        self, rng: np.random.Generator, contrast: Mapping[str, float], studies: int, effect: float = 0.0
    ) -> ArmEstimates:
        """Draw the estimates of a single contrast in many studies at once. The contrast is the only arm."""
        coefficients = np.array([contrast.get(arm, 0.0) for arm in self.arms])
        terms = []
        for term in self.expected:
            value = coefficients @ term.matrix @ coefficients
            squares = value * rng.chisquare(term.df, (studies, 1, 1)) / term.df
            terms.append(replace(term, matrix=squares))
        deviation = np.sqrt(coefficients @ self.covariance @ coefficients)
        means = rng.normal(effect, deviation, (studies, 1))
        return ArmEstimates(("contrast",), means, tuple(terms))


ROOTS: dict[bytes, Array] = {}


def _take_root(matrix: Array) -> Array:
    """Return a matrix R with R'R equal to the given positive semidefinite matrix."""
    key = matrix.tobytes()
    if key not in ROOTS:
        values, vectors = np.linalg.eigh(matrix)
        ROOTS[key] = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return ROOTS[key]


def draw_scores(rng: np.random.Generator, variances: ArmVariances, arms: int, seeds: int) -> ArmScores:
    """Draw the scores of one study one by one."""
    items = _take_root(variances.correlate_arms(arms, of_items=True))
    runs = _take_root(variances.correlate_arms(arms, of_items=False))

    def draw(variance: float, root: Array, *shape: int) -> Array:
        noise: Array = np.sqrt(variance) * np.einsum("a...,ab->b...", rng.standard_normal((arms, *shape)), root)
        return noise

    scores = draw(variances.template, items, 1, TEMPLATES, 1) + draw(variances.product, items, 1, 1, PRODUCTS)
    scores = scores + draw(variances.prompt, items, 1, TEMPLATES, PRODUCTS) + draw(variances.seed, runs, seeds, 1, 1)
    scores = scores + draw(variances.seed_template, runs, seeds, TEMPLATES, 1)
    scores = scores + draw(variances.seed_product, runs, seeds, 1, PRODUCTS)
    scores = scores + draw(variances.error, runs, seeds, TEMPLATES, PRODUCTS)
    scores = scores + rng.standard_normal((1, seeds, 1, 1)) + rng.standard_normal((1, 1, TEMPLATES, PRODUCTS))
    rows, columns = np.divmod(np.arange(TEMPLATES * PRODUCTS), PRODUCTS)
    return ArmScores(
        tuple(f"arm {index}" for index in range(arms)),
        tuple(matrix.reshape(seeds, -1) for matrix in scores),
        np.ones(TEMPLATES * PRODUCTS),
        blocked=True,
        factors={"template": rows.tolist(), "product": columns.tolist()},
    )


def check(studies: int = 400) -> None:
    """Raise if the expected terms differ from the mean of those that are estimated from scores."""
    rng, contrasts = np.random.default_rng(3), np.array([[1.0, -1, 0, 0], [0, 1, -1, 0], [-2, 1, 0, 1]])
    for variances in (DEMO, UNEQUAL, SIMILAR):
        sums: dict[tuple[str, str], Any] = {}
        for _ in range(studies):
            for term in estimate_arms(draw_scores(rng, variances, 4, 5)).terms:
                sums[term.source, term.sample] = sums.get((term.source, term.sample), 0.0) + term.matrix / studies
        for term in variances.expect_matrices(4, 5):
            expected, observed = (
                contrasts @ matrix @ contrasts.T for matrix in (term.matrix, sums[term.source, term.sample])
            )
            np.testing.assert_allclose(observed, expected, atol=0.2 * np.abs(expected).max())
