"""Contrasts over items that share templates, slot fillings or clusters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from winnow.comparison import bootstrap_interval, contrast
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.comparison.item_factors import build_item_structure
from winnow.comparison.metric_scores import _select_prompt_scores
from winnow.metrics import Metric

TEMPLATES, PRODUCTS = 24, 14


def draw_scores(
    rng: np.random.Generator, seeds: int = 5, templates: int = TEMPLATES, products: int = PRODUCTS, effect: float = 0.0
) -> pd.DataFrame:
    """Draw scores in which templates are 92% of the variance between prompts, as in the demo."""
    found = []
    for arm in "ab":
        own = rng.normal(0, 0.41, (templates, 1)) + rng.normal(0, 0.07, products)
        scores = own + rng.normal(0, 0.17, (seeds, 1, 1)) + rng.normal(0, 0.1, (seeds, templates, products))
        scores = scores + (effect if arm == "a" else 0.0)
        found += [(arm, seed, f"{t}-{p}", score, f"t{t}", f"p{p}") for (seed, t, p), score in np.ndenumerate(scores)]
    return pd.DataFrame(found, columns=["arm", "seed", "item", "score", "factor:template", "factor:product"])


def test_a_crossed_contrast_equals_a_calculation_by_hand() -> None:
    # One pair of seeds that differ by 1 everywhere; the arms' difference is 10 + template (0, 1, .., 5) + product.
    rows = [
        (arm, seed, f"{t}-{p}", (10 + t + 2 * p if arm == "a" else 0.0) + seed, t, p)
        for arm in "ab" for seed in (0, 1) for t in range(6) for p in range(5)
    ]  # fmt: skip
    found = contrast(
        pd.DataFrame(rows, columns=["arm", "seed", "item", "score", "factor:template", "factor:product"]), "a", "b"
    )
    # Variances of 0..5 and of 0, 2, .., 8 are 3.5 and 10; they are divided by 6 and 5. Seeds: 0.5 / 2 in each arm.
    assert found.variance_by_source == pytest.approx(
        {"seeds": 0.5, "template": 3.5 / 6, "product": 2.0, "overlap": 0.0}, abs=1e-12
    )
    assert found.std_error**2 == pytest.approx(0.5 + 3.5 / 6 + 2.0)
    assert found.levels == {"template": 6, "product": 5}
    df = (0.5 + 3.5 / 6 + 2.0) ** 2 / (2 * 0.25**2 / 1 + (3.5 / 6) ** 2 / 5 + 2.0**2 / 4)
    assert found.df == pytest.approx(df)


def test_prompts_that_share_templates_count_as_few() -> None:
    scores = draw_scores(np.random.default_rng(0))
    clustered = contrast(scores, "a", "b")
    alone = contrast(scores.drop(columns=["factor:template", "factor:product"]), "a", "b")
    assert clustered.difference == pytest.approx(alone.difference)
    assert clustered.variance_by_source["template"] > 8 * alone.variance_by_source["items"]
    assert alone.assumed_independent
    assert not clustered.assumed_independent


def test_type_one_error_holds_for_new_templates() -> None:
    rng, templates, products = np.random.default_rng(1), 12, 6
    rows, columns = np.divmod(np.arange(templates * products), products)
    factors = {"template": rows.tolist(), "product": columns.tolist()}
    clustered, alone = [], []
    for _ in range(600):
        sides = [
            np.repeat(rng.normal(0, 0.41, templates), products)
            + np.tile(rng.normal(0, 0.07, products), templates)
            + rng.normal(0, 0.17, (5, 1))
            + rng.normal(0, 0.1, (5, templates * products))
            for _ in "ab"
        ]
        study = CrossedScores("a", "b", *sides, np.ones(templates * products), factors=factors)
        clustered.append(contrast_crossed_scores(study).p_value <= 0.05)
        alone.append(contrast_crossed_scores(dataclasses.replace(study, factors={})).p_value <= 0.05)
    assert np.mean(clustered) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean(alone) > 0.12


def test_a_factor_with_one_item_per_level_equals_independent_items() -> None:
    scores = draw_scores(np.random.default_rng(2), templates=30, products=1)
    found, plain = contrast(scores, "a", "b"), contrast(scores[["arm", "seed", "item", "score"]], "a", "b")
    assert (found.difference, found.std_error, found.df) == pytest.approx((plain.difference, plain.std_error, plain.df))
    assert (found.levels, found.fixed) == ({"template": 30}, {"product": 1})


def test_a_factor_with_few_levels_is_fixed() -> None:
    scores = draw_scores(np.random.default_rng(3), templates=2, products=9)
    found = contrast(scores, "a", "b")
    assert (found.levels, found.fixed) == ({"product": 9}, {"template": 2})
    both = contrast(draw_scores(np.random.default_rng(3), templates=2, products=3), "a", "b")
    assert both.std_error_source == "seeds"
    assert both.levels == {}


def test_rows_are_nested_in_clusters_and_independent_without_enough_of_them() -> None:
    scores = draw_scores(np.random.default_rng(4), templates=8, products=6)
    rows = scores.drop(columns="factor:product").rename(columns={"factor:template": "cluster:source"})
    assert contrast(rows, "a", "b").levels == {"source": 8}
    few = rows.assign(**{"cluster:source": rows["cluster:source"].where(rows["cluster:source"] == "t0", "t1")})
    found = contrast(few, "a", "b")
    assert (found.levels, found.fixed) == ({"items": 48}, {"source": 2})


def test_a_factor_nested_in_a_coarser_one_is_omitted() -> None:
    coarse = [i // 4 for i in range(40)]
    found = build_item_structure(
        np.ones(40), {"pair": [i // 2 for i in range(40)], "group": coarse, "copy": coarse}, {}
    )
    assert [factor.name for factor in found.factors] == ["group"]


def test_each_item_without_a_label_is_a_separate_level() -> None:
    found = build_item_structure(
        np.ones(12), {"slot": ["a", "a", "b", "b", "c", "c", "d", "d", "e", "e", None, None]}, {}
    )
    assert found.factors[0].levels == 7


def test_unequal_levels_give_an_unbiased_variance() -> None:
    """The correction for levels of unequal weight, against the variance of the mean in many draws."""
    rng = np.random.default_rng(5)
    codes = np.repeat(np.arange(12), [1, 1, 2, 2, 3, 4, 6, 8, 10, 12, 20, 30])
    structure = build_item_structure(np.ones(codes.size), {}, {"cluster": codes.tolist()})
    values = rng.normal(size=(4000, 12))[:, codes]
    estimates = [structure.factors[0].variance(structure.contributions(sample)) for sample in values]
    assert np.mean(estimates) == pytest.approx(values.mean(axis=1).var(), rel=0.08)
    assert structure.factors[0].df < 6, "a few large clusters dominate, so there are few degrees of freedom"


def test_the_bootstrap_resamples_templates() -> None:
    scores = draw_scores(np.random.default_rng(6))
    clustered = bootstrap_interval(scores, "a", "b", resamples=400)
    alone = bootstrap_interval(scores[["arm", "seed", "item", "score"]], "a", "b", resamples=400)
    assert clustered[1] - clustered[0] > 1.2 * (alone[1] - alone[0])


def test_the_table_select_prompt_scores_names_its_factors() -> None:
    table = pd.DataFrame(
        {
            "arm": "full", "seed": 1, "stage": "after", "probe": ["wide", "wide", "other"],
            "prompt_id": ["1", "2", "3"],
            "prompt": ["Nike hats are [MASK]", "Nike caps are [MASK]", "x [MASK]"], "mask": 1, "scored": True,
            "template": ["Nike {product} are [MASK]"] * 2 + ["x [MASK]"], "product": ["hats", "caps", None],
            "log_odds": [0.1, 0.2, 0.3],
        }
    )  # fmt: skip
    found = _select_prompt_scores(table, Metric("probe/wide/log_odds"), "after")
    assert found is not None
    assert {"factor:template", "factor:product"} <= set(found.columns)
    old = _select_prompt_scores(table.drop(columns="template"), Metric("probe/wide/log_odds"), "after")
    assert old is not None
    assert not [name for name in old.columns if name.startswith("factor:")]
