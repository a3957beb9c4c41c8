"""Simulated studies whose prompts share templates and slot fillings, thousands at once.

In balanced data of normal effects the mean squares of a contrast are independent multiples of chi-squared variables,
and independent of the difference. So a study is drawn as its mean squares, with the expectations that
`VarianceComponents.terms` gives, and tested by `winnow.comparison.difference_variance.combine_terms` itself. `check`
compares this route with `winnow.comparison.contrast` on scores that are drawn one by one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from winnow.comparison import InterimLooks, VarianceComponents
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.difference_variance import VarianceTerm, combine_terms, compute_variance_terms
from winnow.comparison.non_inferiority import DEFAULT_ALPHA as GUARD_ALPHA
from winnow.comparison.non_inferiority import DEFAULT_MARGIN
from winnow.comparison.variance_components import FactorComponents, estimate_crossed_components

Array = NDArray[np.float64]

ALPHA = 0.05
TEMPLATES, PRODUCTS = 24, 14
CORRELATIONS = (-0.5, 0.0, 0.6)
LOOKS = InterimLooks((5, 10, 15, 20))


def world(
    seed: float = 0.030, template: float = 0.330, product: float = 0.010, residual: float = 0.012, error: float = 0.010
) -> VarianceComponents:
    """Return variance components of a contrast over 24 templates x 14 products; the defaults are the demo's.

    In the demo templates are 92% of the variance between prompts, whose mean has a standard error of 0.033 if they
    count as independent and of 0.119 by template. A seed variance of 0.030 gives the rejection rates of 0.12 (5 seeds)
    and 0.34 (20 seeds) that were observed with independent prompts.
    """
    return VarianceComponents(
        seed, seed, residual, error, error, TEMPLATES * PRODUCTS,
        (
            FactorComponents("template", TEMPLATES, template, 0.015, 0.015),
            FactorComponents("product", PRODUCTS, product, 0.002, 0.002),
        ),
    )  # fmt: skip


WORLDS: dict[str, tuple[VarianceComponents, int]] = {
    "demo, 5 seeds": (world(), 5),
    "demo, 20 seeds": (world(), 20),
    "low seed variance, 5 seeds": (world(seed=0.05**2), 5),
    "low seed variance, 20 seeds": (world(seed=0.05**2), 20),
    "half template variance, 5 seeds": (world(template=0.165), 5),
    "half template variance, 20 seeds": (world(template=0.165), 20),
    "no template effect, 5 seeds": (world(template=0.0), 5),
    "no template effect, 20 seeds": (world(template=0.0), 20),
}


def drawn(rng: np.random.Generator, found: VarianceComponents, seeds: int, studies: int) -> tuple[Array, Array, Array]:
    """Return difference, standard error and degrees of freedom of many studies without a true difference."""
    terms = [term for term in found.terms(seeds) if term.value != 0]
    variance = float(sum(np.asarray(term.value) for term in terms))
    simulated = [
        replace(term, value=np.asarray(term.value) * rng.chisquare(term.df, studies) / term.df) for term in terms
    ]
    spread = combine_terms(simulated)
    return rng.normal(0, math.sqrt(variance), studies), np.sqrt(spread.variance), spread.df


def clustered(studies: int) -> dict[str, Any]:
    """Return type I error, coverage and power, worst over the worlds.

    Power is relative to an oracle that knows the variances and uses the normal distribution, at a true difference that
    the oracle finds in 80% of studies.
    """
    rng = np.random.default_rng(15)
    cells: dict[str, dict[str, float]] = {}
    for name, (found, seeds) in WORLDS.items():
        difference, error, df = drawn(rng, found, seeds, studies)
        half = t.ppf(1 - ALPHA / 2, df) * error
        sd = math.sqrt(sum(float(term.value) for term in found.terms(seeds)))
        powers = {}
        for oracle in (0.5, 0.8):
            shift = (norm.ppf(1 - ALPHA / 2) + norm.ppf(oracle)) * sd
            powers[f"power_at_oracle_{oracle}"] = float((np.abs(difference + shift) > half).mean())
        rejected = float((np.abs(difference) > half).mean())
        naive = independent(rng, found, seeds, 1000)
        cells[name] = {"type_1": rejected, "coverage": 1 - rejected, **powers, "type_1_if_independent": naive}
    return {
        "type_1": max(cell["type_1"] for cell in cells.values()),
        "coverage": min(cell["coverage"] for cell in cells.values()),
        "power": min(cell["power_at_oracle_0.8"] / 0.8 for cell in cells.values()),
        "studies": studies,
        "cells": cells,
    }


def scores(rng: np.random.Generator, found: VarianceComponents, seeds: int, correlation: float = 0.0) -> CrossedScores:
    """Draw the scores of one study; effects of equal seeds in the two arms may be correlated."""
    (template, product), shape = found.factors, (TEMPLATES, PRODUCTS)

    def noise(variance: float, *size: int) -> Array:
        return math.sqrt(variance) * rng.standard_normal(size)

    common = noise(1.0, *shape) + noise(1.0, TEMPLATES, 1)
    shared = rng.standard_normal(seeds)
    sides = []
    for sign, seed, errors in ((1, found.seed_a, "error_a"), (-1, found.seed_b, "error_b")):
        own = common + (
            noise(template.between, TEMPLATES, 1) + noise(product.between, PRODUCTS) + noise(found.item, *shape)
        ) / math.sqrt(2)
        mixed = math.sqrt(abs(correlation)) * shared * (sign if correlation < 0 else 1)
        effect = math.sqrt(seed) * (mixed + math.sqrt(1 - abs(correlation)) * rng.standard_normal(seeds))
        side = own + effect[:, None, None] + noise(getattr(template, errors), seeds, TEMPLATES, 1)
        side = side + noise(getattr(product, errors), seeds, 1, PRODUCTS) + noise(getattr(found, errors), seeds, *shape)
        sides.append(side.reshape(seeds, -1))
    rows, columns = np.divmod(np.arange(TEMPLATES * PRODUCTS), PRODUCTS)
    labels = {"template": rows.tolist(), "product": columns.tolist()}
    return CrossedScores("a", "b", sides[0], sides[1], np.ones(TEMPLATES * PRODUCTS), factors=labels)


def independent(rng: np.random.Generator, found: VarianceComponents, seeds: int, studies: int) -> float:
    """Return the type I error if prompts count as independent, as version 0.1 took them."""
    studied = (replace(scores(rng, found, seeds), factors={}) for _ in range(studies))
    return float(np.mean([contrast_crossed_scores(study).p_value <= ALPHA for study in studied]))


def blocked(studies: int) -> dict[str, Any]:
    """Return the type I error of paired seeds at each correlation of same-seed runs, and that of unpaired ones."""
    rng, cells = np.random.default_rng(16), {}
    for template, label in ((0.33, "demo"), (0.0, "no template effect")):
        for correlation in CORRELATIONS:
            for seeds in (5, 20):
                found = paired(world(template=template), correlation)
                difference, error, df = drawn(rng, found, seeds, studies)
                rejected = np.abs(difference) > t.ppf(1 - ALPHA / 2, df) * error
                cells[f"{label}, correlation {correlation}, {seeds} seeds"] = float(rejected.mean())
    nested = {
        str(correlation): float(
            np.mean([
                contrast_crossed_scores(scores(rng, world(seed=0.09, template=0.0), 5, correlation)).p_value <= ALPHA
                for _ in range(1000)
            ])
        )
        for correlation in CORRELATIONS
    }  # fmt: skip
    return {"type_1": max(cells.values()), "studies": studies, "cells": cells, "type_1_if_nested": nested}


def paired(found: VarianceComponents, correlation: float) -> VarianceComponents:
    """Return the components of the differences of pairs."""
    factors = tuple(replace(f, error_a=f.error_a + f.error_b, error_b=0.0) for f in found.factors)
    seed = found.seed_a + found.seed_b - 2 * correlation * math.sqrt(found.seed_a * found.seed_b)
    return replace(found, seed_a=seed, seed_b=0.0, error_a=found.error_a + found.error_b, error_b=0.0, factors=factors)


def looks(studies: int) -> dict[str, Any]:
    """Return the type I error of a study that is compared at each declared look, and of one without correction.

    Templates and products stay the same from look to look; only seeds are added, so the variance between templates
    does not shrink and looks are strongly correlated.
    """
    rng, cells = np.random.default_rng(17), {}
    for name, found in {
        "demo": world(),
        "low seed variance": world(seed=0.0025),
        "no template effect": world(template=0.0),
    }.items():
        hits, uncorrected = 0, 0
        for start in range(0, studies, 500):
            p_values = at_looks(rng, found, min(500, studies - start))
            hits += int((p_values <= np.array(LOOKS.levels)[:, None]).any(axis=0).sum())
            uncorrected += int((p_values <= ALPHA).any(axis=0).sum())
        cells[name] = {"type_1": hits / studies, "type_1_without_correction": uncorrected / studies}
    return {
        "type_1": max(cell["type_1"] for cell in cells.values()),
        "seeds": list(LOOKS.seeds),
        "levels": list(LOOKS.levels),
        "studies": studies,
        "cells": cells,
    }


def at_looks(rng: np.random.Generator, found: VarianceComponents, studies: int) -> Array:
    """Return the p values of many studies at each look, of shape (looks, studies)."""
    most, (template, product) = LOOKS.seeds[-1], found.factors
    grid = np.sqrt(found.item) * rng.standard_normal((studies, TEMPLATES, PRODUCTS))
    grid += np.sqrt(template.between) * rng.standard_normal((studies, TEMPLATES, 1))
    grid += np.sqrt(product.between) * rng.standard_normal((studies, 1, PRODUCTS))
    sides = [seed_scores(rng, found, side, studies, most) for side in "ab"]
    return np.stack([judged(grid, sides, seeds) for seeds in LOOKS.seeds])


def seed_scores(rng: np.random.Generator, found: VarianceComponents, side: str, studies: int, seeds: int) -> Array:
    """Return what one arm's seeds add to every prompt, of shape (studies, seeds, templates, products)."""
    template, product = found.factors
    shape = (studies, seeds, TEMPLATES, PRODUCTS)
    drawn_scores: Array = math.sqrt(getattr(found, f"error_{side}")) * rng.standard_normal(shape, dtype=np.float32)
    drawn_scores += math.sqrt(getattr(template, f"error_{side}")) * rng.standard_normal((*shape[:3], 1), np.float32)
    drawn_scores += math.sqrt(getattr(product, f"error_{side}")) * rng.standard_normal(
        (*shape[:2], 1, shape[3]), np.float32
    )
    drawn_scores += math.sqrt(getattr(found, f"seed_{side}")) * rng.standard_normal((*shape[:2], 1, 1), np.float32)
    return drawn_scores


def judged(grid: Array, sides: list[Array], seeds: int) -> Array:
    """Return the p values of many complete studies after their first seeds, by the library's combination of terms."""
    sides = [side[:, :seeds] for side in sides]
    terms, n = [], seeds
    item_df = {"template": TEMPLATES - 1, "product": PRODUCTS - 1, "residual": (TEMPLATES - 1) * (PRODUCTS - 1)}
    difference = grid + sides[0].mean(axis=1, dtype=np.float64) - sides[1].mean(axis=1, dtype=np.float64)
    terms += [VarianceTerm(name, "", value, item_df[name]) for name, value in squares(difference).items()]
    for name, side in zip("ab", sides, strict=True):
        means = side.mean(axis=(2, 3), dtype=np.float64)
        terms.append(VarianceTerm("seeds", name, means.var(axis=1, ddof=1) / n, n - 1))
        within = squares(side - side.mean(axis=1, keepdims=True))
        terms += [
            VarianceTerm(part, name, -value.sum(axis=1) / n / (n - 1), (n - 1) * item_df[part])
            for part, value in within.items()
        ]
    spread = combine_terms(terms)
    ratio = np.abs(difference.mean(axis=(1, 2))) / np.sqrt(spread.variance)
    p_values: Array = 2 * t.sf(ratio, spread.df)
    return p_values


def squares(values: Array) -> dict[str, Array]:
    """Return the item terms of the variance of a mean over a complete grid of templates and products."""
    rows, columns = values.mean(axis=-1), values.mean(axis=-2)
    total = rows.mean(axis=-1)
    left = values - rows[..., :, None] - columns[..., None, :] + total[..., None, None]
    df = (TEMPLATES - 1) * (PRODUCTS - 1)
    return {
        "template": rows.var(axis=-1, ddof=1) / TEMPLATES,
        "product": columns.var(axis=-1, ddof=1) / PRODUCTS,
        "residual": -np.square(left).sum(axis=(-1, -2)) / df / TEMPLATES / PRODUCTS,
    }


def guarded(studies: int) -> dict[str, Any]:
    """Return how often a cost exactly as large as the margin passes, and how often no cost at all does."""
    rng, cells = np.random.default_rng(18), {}
    variances = {
        "40 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.004, 0.002, 0.002, 40), 5),
        "24 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.01, 0.002, 0.002, 24), 5),
        "500 rows, 5 seeds": (VarianceComponents(0.0004, 0.0004, 0.06, 0.01, 0.01, 500), 5),
        "pairs, 24 clusters of rows, 5 seeds": (VarianceComponents(0.0004, 0.0, 0.01, 0.004, 0.0, 24), 5),
        "seeds alone, 5 seeds": (VarianceComponents(0.0009, 0.0009, 0.0, 0.01, 0.01, 500), 5),
    }
    for name, (found, seeds) in variances.items():
        noise, error, df = drawn(rng, found, seeds, studies)
        reach = t.ppf(1 - GUARD_ALPHA, df) * error
        cells[name] = {
            "false_pass": float((DEFAULT_MARGIN + noise + reach < DEFAULT_MARGIN).mean()),
            "pass_without_cost": float((noise + reach < DEFAULT_MARGIN).mean()),
        }
    return {
        "false_pass": max(cell["false_pass"] for cell in cells.values()),
        "margin": DEFAULT_MARGIN,
        "alpha": GUARD_ALPHA,
        "studies": studies,
        "cells": cells,
    }


def check() -> None:
    """Raise if the simulated route and the library differ on scores that are drawn one by one."""
    rng, found = np.random.default_rng(19), world()
    studied = scores(rng, found, 5)
    grid = np.zeros((1, TEMPLATES, PRODUCTS))
    sides = [side.reshape(1, 5, TEMPLATES, PRODUCTS) for side in (studied.scores_a, studied.scores_b)]
    np.testing.assert_allclose(judged(grid, sides, 5)[0], contrast_crossed_scores(studied).p_value, rtol=1e-9)
    many = [scores(rng, found, 5) for _ in range(400)]
    expected = {(term.source, term.sample): float(term.value) for term in found.terms(5)}
    for key, value in expected.items():
        observed = [
            sum(float(term.value) for term in compute_variance_terms(study) if (term.source, term.sample) == key)
            for study in many
        ]
        np.testing.assert_allclose(np.mean(observed), value, rtol=0.15)
    back = estimate_crossed_components(many[0])
    np.testing.assert_allclose(
        sum(float(term.value) for term in back.terms(5)), contrast_crossed_scores(many[0]).std_error ** 2, rtol=1e-9
    )
