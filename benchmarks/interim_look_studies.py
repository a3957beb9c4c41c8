"""Simulated studies with interim looks. Templates and products are the same at every look; only seeds are added."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from clustered_studies import ALPHA, COMPONENTS, DEMO, PAIRED_WORLDS, draw_scores
from winnow.comparison import InterimLooks, VarianceComponents
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.difference_variance import VarianceTerm, combine_terms

Array = NDArray[np.float64]

LOOKS = InterimLooks((5, 10, 15, 20))
BATCH = 500


def looks(studies: int) -> dict[str, Any]:
    """Return the type I error of a study that is compared at each declared look, with and without correction.

    A study counts as rejected if any look rejects, because a comparison keeps the result of an earlier look. The
    variance between templates does not shrink with more seeds, so the looks are strongly correlated.
    """
    rng, cells = np.random.default_rng(17), {}
    for name in ["low seed variance", *PAIRED_WORLDS]:
        rejected, uncorrected = 0, 0
        for start in range(0, studies, BATCH):
            p_values = draw_p_values(rng, COMPONENTS[name], min(BATCH, studies - start))
            rejected += int((p_values <= np.array(LOOKS.levels)[:, None]).any(axis=0).sum())
            uncorrected += int((p_values <= ALPHA).any(axis=0).sum())
        cells[name] = {"type_1": rejected / studies, "type_1_without_correction": uncorrected / studies}
    return {
        "type_1": max(cell["type_1"] for cell in cells.values()),
        "seeds": list(LOOKS.seeds),
        "levels": list(LOOKS.levels),
        "studies": studies,
        "cells": cells,
    }


def draw_p_values(rng: np.random.Generator, components: VarianceComponents, studies: int) -> Array:
    """Return the p-values of many studies without a true difference at each look, with shape (looks, studies)."""
    template, product = components.factors
    items = np.sqrt(components.item) * rng.standard_normal((studies, template.levels, product.levels))
    items += np.sqrt(template.between) * rng.standard_normal((studies, template.levels, 1))
    items += np.sqrt(product.between) * rng.standard_normal((studies, 1, product.levels))
    sides = [draw_seed_effects(rng, components, side, studies) for side in "ab"]
    return np.stack([compute_p_values(items, sides, seeds) for seeds in LOOKS.seeds])


def draw_seed_effects(rng: np.random.Generator, components: VarianceComponents, side: str, studies: int) -> Array:
    """Return what one arm's seeds add to every prompt, with shape (studies, seeds, templates, products)."""
    template, product = components.factors
    seeds, name = LOOKS.seeds[-1], f"error_{side}"
    shape = (studies, seeds, template.levels, product.levels)
    effects: Array = math.sqrt(getattr(components, name)) * rng.standard_normal(shape, dtype=np.float32)
    effects += math.sqrt(getattr(template, name)) * rng.standard_normal((*shape[:3], 1), np.float32)
    effects += math.sqrt(getattr(product, name)) * rng.standard_normal((*shape[:2], 1, shape[3]), np.float32)
    effects += math.sqrt(getattr(components, f"seed_{side}")) * rng.standard_normal((*shape[:2], 1, 1), np.float32)
    return effects


def compute_p_values(items: Array, sides: list[Array], seeds: int) -> Array:
    """Return the p-values of many complete studies after their first seeds, with the library's combination of terms."""
    sides, (templates, products) = [side[:, :seeds] for side in sides], items.shape[1:]
    item_df = {"template": templates - 1, "product": products - 1, "residual": (templates - 1) * (products - 1)}
    difference = items + sides[0].mean(axis=1, dtype=np.float64) - sides[1].mean(axis=1, dtype=np.float64)
    terms = [VarianceTerm(name, "", value, item_df[name]) for name, value in compute_item_terms(difference).items()]
    for name, side in zip("ab", sides, strict=True):
        means = side.mean(axis=(2, 3), dtype=np.float64)
        terms.append(VarianceTerm("seeds", name, means.var(axis=1, ddof=1) / seeds, seeds - 1))
        within = compute_item_terms(side - side.mean(axis=1, keepdims=True))
        terms += [
            VarianceTerm(source, name, -value.sum(axis=1) / seeds / (seeds - 1), (seeds - 1) * item_df[source])
            for source, value in within.items()
        ]
    combined = combine_terms(terms)
    ratio = np.abs(difference.mean(axis=(1, 2))) / np.sqrt(combined.variance)
    p_values: Array = 2 * t.sf(ratio, combined.df)
    return p_values


def compute_item_terms(values: Array) -> dict[str, Array]:
    """Return the item terms of the variance of a mean over a complete grid of templates and products."""
    templates, products = values.shape[-2:]
    rows, columns = values.mean(axis=-1), values.mean(axis=-2)
    total = rows.mean(axis=-1)
    residuals = values - rows[..., :, None] - columns[..., None, :] + total[..., None, None]
    df = (templates - 1) * (products - 1)
    return {
        "template": rows.var(axis=-1, ddof=1) / templates,
        "product": columns.var(axis=-1, ddof=1) / products,
        "residual": -np.square(residuals).sum(axis=(-1, -2)) / df / templates / products,
    }


def check() -> None:
    """Raise an error if the vectorized p-value and the library differ on individually drawn scores."""
    study = draw_scores(np.random.default_rng(19), DEMO, 5)
    shape = tuple(factor.levels for factor in DEMO.factors)
    sides = [side.reshape(1, 5, *shape) for side in (study.scores_a, study.scores_b)]
    p_value = compute_p_values(np.zeros((1, *shape)), sides, 5)[0]
    np.testing.assert_allclose(p_value, contrast_crossed_scores(study).p_value, rtol=1e-9)
