"""Simulated studies whose prompts share templates and slot fillings, thousands at once.

In balanced data with normal effects, the mean squares of a contrast are independent multiples of chi-squared
variables, and independent of the difference. A study is therefore drawn as its mean squares, with the expectations that
`VarianceComponents.terms` returns, and tested by `winnow.comparison.difference_variance.combine_terms`. `check`
compares this procedure with `winnow.comparison.contrast` on individually drawn scores.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from winnow.comparison import VarianceComponents
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.difference_variance import combine_terms, compute_variance_terms
from winnow.comparison.non_inferiority import DEFAULT_ALPHA as GUARD_ALPHA
from winnow.comparison.non_inferiority import DEFAULT_MARGIN
from winnow.comparison.variance_components import FactorComponents, estimate_crossed_components

Array = NDArray[np.float64]

ALPHA = 0.05
CORRELATIONS = (-0.5, 0.0, 0.6)

DEMO = VarianceComponents(
    0.0057, 0.0250, 0.0362, 0.0862, 0.0210, 34 * 8,
    (
        FactorComponents("template", 34, 1.766, 0.2779, 0.1031),
        FactorComponents("product", 8, 0.0006, 0.0067, 0.0015),
    ),
)  # fmt: skip
"""Components of `nike_positive - full` in `probe/nike_wide/log_odds`, unpaired, with 34 test templates x 8 products.
They were estimated by `estimate_variance_components` from the runs of `winnow train -m experiment=demo` (5 seeds)."""

DEMO_0_2 = VarianceComponents(
    0.030, 0.030, 0.012, 0.010, 0.010, 24 * 14,
    (
        FactorComponents("template", 24, 0.330, 0.015, 0.015),
        FactorComponents("product", 14, 0.010, 0.002, 0.002),
    ),
)  # fmt: skip
"""The demo of version 0.2, in which templates account for 92% of the variance between prompts. The seed and template
variances are fitted to observed runs; the interactions are assumptions."""


def scale_template_variance(components: VarianceComponents, scale: float) -> VarianceComponents:
    """Return the components with the variance between templates multiplied by a number."""
    template, product = components.factors
    return replace(components, factors=(replace(template, between=scale * template.between), product))


COMPONENTS = {
    "demo": DEMO,
    "low seed variance": replace(DEMO, seed_a=0.05**2, seed_b=0.05**2),
    "half template variance": scale_template_variance(DEMO, 0.5),
    "no template effect": scale_template_variance(DEMO, 0),
    "demo of version 0.2": DEMO_0_2,
    "demo of version 0.2, no template effect": scale_template_variance(DEMO_0_2, 0),
}
WORLDS = {f"{name}, {seeds} seeds": (components, seeds) for name, components in COMPONENTS.items() for seeds in (5, 20)}
PAIRED_WORLDS = [name for name in COMPONENTS if name not in ("low seed variance", "half template variance")]


def draw_studies(
    rng: np.random.Generator, components: VarianceComponents, seeds: int, studies: int
) -> tuple[Array, Array, Array]:
    """Return difference, standard error and degrees of freedom of many studies without a true difference."""
    terms = [term for term in components.terms(seeds) if term.value != 0]
    variance = float(sum(np.asarray(term.value) for term in terms))
    simulated = [
        replace(term, value=np.asarray(term.value) * rng.chisquare(term.df, studies) / term.df) for term in terms
    ]
    combined = combine_terms(simulated)
    return rng.normal(0, math.sqrt(variance), studies), np.sqrt(combined.variance), combined.df


def clustered(studies: int) -> dict[str, Any]:
    """Return type I error, coverage and power, worst over the worlds.

    Power is relative to an oracle that knows the variances and uses the normal distribution, at a true difference that
    the oracle detects in 80% of studies.
    """
    rng = np.random.default_rng(15)
    cells: dict[str, dict[str, float]] = {}
    for name, (components, seeds) in WORLDS.items():
        difference, error, df = draw_studies(rng, components, seeds, studies)
        half_width = t.ppf(1 - ALPHA / 2, df) * error
        sd = math.sqrt(sum(float(term.value) for term in components.terms(seeds)))
        powers = {}
        for oracle in (0.5, 0.8):
            shift = (norm.ppf(1 - ALPHA / 2) + norm.ppf(oracle)) * sd
            powers[f"power_at_oracle_{oracle}"] = float((np.abs(difference + shift) > half_width).mean())
        type_1 = float((np.abs(difference) > half_width).mean())
        independent = measure_independent_type_1(rng, components, seeds, 1000)
        cells[name] = {"type_1": type_1, "coverage": 1 - type_1, **powers, "type_1_if_independent": independent}
    return {
        "type_1": max(cell["type_1"] for cell in cells.values()),
        "coverage": min(cell["coverage"] for cell in cells.values()),
        "power": min(cell["power_at_oracle_0.8"] / 0.8 for cell in cells.values()),
        "studies": studies,
        "cells": cells,
    }


def draw_scores(
    rng: np.random.Generator, components: VarianceComponents, seeds: int, correlation: float = 0.0
) -> CrossedScores:
    """Draw the scores of one study; effects of equal seeds in the two arms may be correlated."""
    template, product = components.factors
    shape = (template.levels, product.levels)

    def noise(variance: float, *size: int) -> Array:
        return math.sqrt(variance) * rng.standard_normal(size)

    common = noise(1.0, *shape) + noise(1.0, shape[0], 1)
    shared = rng.standard_normal(seeds)
    sides = []
    for sign, seed, errors in ((1, components.seed_a, "error_a"), (-1, components.seed_b, "error_b")):
        item = noise(template.between, shape[0], 1) + noise(product.between, shape[1]) + noise(components.item, *shape)
        mixed = math.sqrt(abs(correlation)) * shared * (sign if correlation < 0 else 1)
        effect = math.sqrt(seed) * (mixed + math.sqrt(1 - abs(correlation)) * rng.standard_normal(seeds))
        side = common + item / math.sqrt(2) + effect[:, None, None]
        side = side + noise(getattr(template, errors), seeds, shape[0], 1)
        side = side + noise(getattr(product, errors), seeds, 1, shape[1])
        side = side + noise(getattr(components, errors), seeds, *shape)
        sides.append(side.reshape(seeds, -1))
    rows, columns = np.divmod(np.arange(math.prod(shape)), shape[1])
    labels = {"template": rows.tolist(), "product": columns.tolist()}
    return CrossedScores("a", "b", sides[0], sides[1], np.ones(math.prod(shape)), factors=labels)


def measure_independent_type_1(
    rng: np.random.Generator, components: VarianceComponents, seeds: int, studies: int
) -> float:
    """Return the type I error if prompts count as independent, as in version 0.1."""
    scores = (replace(draw_scores(rng, components, seeds), factors={}) for _ in range(studies))
    return float(np.mean([contrast_crossed_scores(study).p_value <= ALPHA for study in scores]))


def blocked(studies: int) -> dict[str, Any]:
    """Return the type I error of paired seeds at each correlation of same-seed runs, and that of unpaired seeds."""
    rng, cells = np.random.default_rng(16), {}
    for name in PAIRED_WORLDS:
        for correlation in CORRELATIONS:
            for seeds in (5, 20):
                components = pair_seeds(COMPONENTS[name], correlation)
                difference, error, df = draw_studies(rng, components, seeds, studies)
                rejected = np.abs(difference) > t.ppf(1 - ALPHA / 2, df) * error
                cells[f"{name}, correlation {correlation}, {seeds} seeds"] = float(rejected.mean())
    # The correlation matters most if seeds vary much and templates do not.
    noisy = replace(scale_template_variance(DEMO_0_2, 0), seed_a=0.09, seed_b=0.09)
    nested = {
        str(correlation): float(
            np.mean([
                contrast_crossed_scores(draw_scores(rng, noisy, 5, correlation)).p_value <= ALPHA for _ in range(1000)
            ])
        )
        for correlation in CORRELATIONS
    }  # fmt: skip
    return {"type_1": max(cells.values()), "studies": studies, "cells": cells, "type_1_if_nested": nested}


def pair_seeds(components: VarianceComponents, correlation: float) -> VarianceComponents:
    """Return the components of the differences of pairs."""
    factors = tuple(replace(f, error_a=f.error_a + f.error_b, error_b=0.0) for f in components.factors)
    seed_a, seed_b = components.seed_a, components.seed_b
    seed = seed_a + seed_b - 2 * correlation * math.sqrt(seed_a * seed_b)
    error = components.error_a + components.error_b
    return replace(components, seed_a=seed, seed_b=0.0, error_a=error, error_b=0.0, factors=factors)


def guarded(studies: int) -> dict[str, Any]:
    """Return how often a cost exactly as large as the margin passes, and how often no cost at all does."""
    rng, cells = np.random.default_rng(18), {}
    variances = {
        "40 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.004, 0.002, 0.002, 40), 5),
        "24 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.01, 0.002, 0.002, 24), 5),
        "500 rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.06, 0.01, 0.01, 500), 5),
        "pairs, 24 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0, 0.01, 0.004, 0.0, 24), 5),
        "pairs, demo, 5 seeds": (VarianceComponents(0.0021, 0.0, 0.2719, 0.0081, 0.0, 126), 5),
        "pairs, random control of the demo, 5 seeds": (VarianceComponents(0.0006, 0.0, 0.0007, 0.0057, 0.0, 126), 5),
        "seeds alone, 5 seeds": (VarianceComponents(0.0009, 0.0009, 0.0, 0.01, 0.01, 500), 5),
    }
    for name, (components, seeds) in variances.items():
        difference, error, df = draw_studies(rng, components, seeds, studies)
        half_width = t.ppf(1 - GUARD_ALPHA, df) * error
        cells[name] = {
            "false_pass": float((DEFAULT_MARGIN + difference + half_width < DEFAULT_MARGIN).mean()),
            "pass_without_cost": float((difference + half_width < DEFAULT_MARGIN).mean()),
        }
    return {
        "false_pass": max(cell["false_pass"] for cell in cells.values()),
        "margin": DEFAULT_MARGIN,
        "alpha": GUARD_ALPHA,
        "studies": studies,
        "cells": cells,
    }


def check() -> None:
    """Raise an error if the simulated terms and the library differ on individually drawn scores."""
    rng = np.random.default_rng(19)
    studies = [draw_scores(rng, DEMO, 5) for _ in range(600)]
    expected = {(term.source, term.sample): float(term.value) for term in DEMO.terms(5)}
    observed = {key: np.zeros(len(studies)) for key in expected}
    for i, study in enumerate(studies):
        for term in compute_variance_terms(study):
            observed[term.source, term.sample][i] += float(term.value)
    for key, value in expected.items():
        # Four standard errors of the mean, because there are ten terms
        tolerance = 4 * observed[key].std() / math.sqrt(len(studies))
        np.testing.assert_allclose(observed[key].mean(), value, atol=tolerance)
    # Unlike the demo's, these components are too large for a negative estimate, which would be set to 0.
    study = draw_scores(rng, DEMO_0_2, 5)
    estimate = sum(float(term.value) for term in estimate_crossed_components(study).terms(5))
    np.testing.assert_allclose(estimate, contrast_crossed_scores(study).std_error ** 2, rtol=1e-9)
