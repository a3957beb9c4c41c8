"""Compare the contrast with a mixed model with crossed variance components, fitted by statsmodels.

In balanced data the restricted maximum likelihood estimates equal those of the analysis of variance, unless one of them
is 0. So both give the same difference and the same standard error.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from winnow.comparison import contrast

mixed = pytest.importorskip("statsmodels.regression.mixed_linear_model")

SEEDS, TEMPLATES, PRODUCTS = 4, 5, 5


def draw_scores(rng: np.random.Generator) -> pd.DataFrame:
    grid = (TEMPLATES, PRODUCTS)
    own = rng.normal(0, 0.5, (TEMPLATES, 1)) + rng.normal(0, 0.5, PRODUCTS) + rng.normal(0, 0.6, grid)
    common = rng.normal(0, 1, (TEMPLATES, 1)) + rng.normal(0, 0.3, grid)
    found = []
    for arm, sign in (("a", 0.5), ("b", -0.5)):
        scores = common + sign * own + rng.normal(0, 0.5, (SEEDS, 1, 1)) + rng.normal(0, 0.3, (SEEDS, TEMPLATES, 1))
        scores = scores + rng.normal(0, 0.3, (SEEDS, 1, PRODUCTS)) + rng.normal(0, 0.2, (SEEDS, *grid))
        found += [(arm, seed, f"{t}-{p}", score, str(t), str(p)) for (seed, t, p), score in np.ndenumerate(scores)]
    return pd.DataFrame(found, columns=["arm", "seed", "item", "score", "factor:template", "factor:product"])


def fit_mixed_model(y: pd.Series, fixed: NDArray[np.float64], effects: dict[str, pd.Series]) -> tuple[float, float]:
    """Return the first fixed effect and its standard error, with crossed random effects."""
    indicators = {name: pd.get_dummies(labels, dtype=float) for name, labels in effects.items()}
    components = mixed.VCSpec(
        list(indicators),
        [[[str(label) for label in one.columns]] for one in indicators.values()],
        [[indicator.to_numpy()] for indicator in indicators.values()],
    )
    model = mixed.MixedLM(y.to_numpy(), fixed, groups=np.zeros(len(y)), exog_vc=components)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.fit(reml=True, method="lbfgs")
    assert found.converged
    assert (found.vcomp > 1e-3).all(), "an estimate at 0 has no counterpart in the analysis of variance"
    return float(found.params[0]), float(found.bse[0])


def test_paired_seeds_agree_with_a_mixed_model() -> None:
    scores = draw_scores(np.random.default_rng(10))
    keys = ["seed", "item", "factor:template", "factor:product"]
    pairs = scores.pivot(index=keys, columns="arm", values="score").reset_index()
    seed, template, product = (pairs[name].astype(str) for name in ("seed", "factor:template", "factor:product"))
    effects = {
        "seed": seed, "template": template, "product": product, "item": pairs["item"].astype(str),
        "seed:template": seed + ":" + template, "seed:product": seed + ":" + product,
    }  # fmt: skip
    estimate, error = fit_mixed_model(pairs["a"] - pairs["b"], np.ones((len(pairs), 1)), effects)
    ours = contrast(scores, "a", "b", blocked=True)
    assert ours.std_error_source == "all"
    assert ours.difference == pytest.approx(estimate, abs=1e-9)
    assert ours.std_error == pytest.approx(error, rel=1e-3)


def test_nested_seeds_agree_with_a_mixed_model() -> None:
    scores = draw_scores(np.random.default_rng(10))
    arm, template, product = (scores[name] for name in ("arm", "factor:template", "factor:product"))
    run = arm + ":" + scores["seed"].astype(str)
    effects = {
        "run": run, "template": arm + ":" + template, "product": arm + ":" + product,
        "item": arm + ":" + scores["item"], "run:template": run + ":" + template, "run:product": run + ":" + product,
    }  # fmt: skip
    sign = np.where(arm == "a", 0.5, -0.5)[:, None]
    fixed = np.hstack([sign, pd.get_dummies(scores["item"], dtype=float).to_numpy()])
    estimate, error = fit_mixed_model(scores["score"], fixed, effects)
    ours = contrast(scores, "a", "b")
    assert ours.std_error_source == "all"
    assert ours.difference == pytest.approx(estimate, abs=1e-9)
    assert ours.std_error == pytest.approx(error, rel=1e-3)
