"""Seeds as blocks, runs without scores, and missing scores."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from winnow.comparison import contrast, permutation_p, summarize
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import Array, CrossedScores
from winnow.comparison.score_imputation import impute_missing
from winnow.errors import WinnowError

STUDIES = 800


def table(a: list[list[float]], b: list[list[float]]) -> pd.DataFrame:
    """Return the seeds x items scores of two arms as a table with one row per score."""
    return pd.DataFrame(
        [
            (arm, seed, f"p{item}", score)
            for arm, side in (("a", a), ("b", b))
            for seed, scores in enumerate(side, 1)
            for item, score in enumerate(scores)
        ],
        columns=["arm", "seed", "item", "score"],
    )


def draw_arms(rng: np.random.Generator, correlation: float, seeds: int = 5, items: int = 24) -> list[Array]:
    """Draw the scores of two arms without a true difference; runs with the same seed are correlated."""
    shared, own = rng.normal(size=seeds), math.sqrt(1 - abs(correlation))
    return [
        rng.normal(0, 0.1, items)
        + 0.3 * (math.sqrt(abs(correlation)) * sign * shared + own * rng.normal(size=seeds))[:, None]
        + rng.normal(0, 0.1, (seeds, items))
        for sign in (1, np.sign(correlation))
    ]


def draw_study(rng: np.random.Generator, correlation: float, seeds: int = 5, items: int = 24) -> pd.DataFrame:
    return table(*(side.tolist() for side in draw_arms(rng, correlation, seeds, items)))


def rejections(seed: int, correlation: float, blocked: bool) -> float:
    rng = np.random.default_rng(seed)
    studies = (
        CrossedScores("a", "b", *draw_arms(rng, correlation), np.ones(24), blocked=blocked) for _ in range(STUDIES)
    )
    return float(np.mean([contrast_crossed_scores(study).p_value <= 0.05 for study in studies]))


def test_one_item_is_the_paired_t_test() -> None:
    a, b = [1.0, 2.0, 4.0, 4.5], [0.5, 1.9, 2.0, 4.0]
    found = contrast(table([[x] for x in a], [[x] for x in b]), "a", "b", blocked=True)
    expected = stats.ttest_rel(a, b)
    assert (found.p_value, found.df) == pytest.approx((expected.pvalue, 3))
    assert found.blocked


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.6])
def test_pairs_keep_the_level_at_any_correlation(correlation: float) -> None:
    assert rejections(7, correlation, blocked=True) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / STUDIES)


def test_unpaired_seeds_reject_too_often_if_the_correlation_is_negative() -> None:
    """This is why blocking by seed is the default."""
    assert rejections(8, -0.5, blocked=False) > 0.08


def test_pairs_narrow_the_interval_if_the_correlation_is_positive() -> None:
    scores = draw_study(np.random.default_rng(9), 0.9, seeds=20)
    assert contrast(scores, "a", "b", blocked=True).std_error < 0.7 * contrast(scores, "a", "b").std_error


def test_a_seed_without_a_partner_is_excluded_and_listed() -> None:
    scores = draw_study(np.random.default_rng(10), 0.5)
    found = contrast(scores[~((scores["arm"] == "b") & (scores["seed"] == 3))], "a", "b", blocked=True)
    assert (found.n_a, found.n_b) == (4, 4)
    assert found.seeds_left_out == ("a seed 3 (not in b)",)
    with pytest.raises(WinnowError, match="in pairs"):
        contrast(scores[(scores["arm"] == "a") == (scores["seed"] <= 2)], "a", "b", blocked=True)


def test_permutation_of_pairs_swaps_within_them() -> None:
    scores = table([[2.0], [3.0], [4.0], [5.0], [6.0]], [[1.0]] * 5)
    assert permutation_p(scores, "a", "b", blocked=True) == pytest.approx(2 / 32)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_without_finite_scores_is_excluded_and_listed(bad: float) -> None:
    scores = draw_study(np.random.default_rng(11), 0.0)
    scores.loc[(scores["arm"] == "a") & (scores["seed"] == 2), "score"] = bad
    found = contrast(scores, "a", "b")
    assert (found.n_a, found.n_b, found.items, found.items_left_out) == (4, 5, 24, 0)
    assert found.seeds_left_out == ("a seed 2 (no finite score)",)
    with pytest.raises(WinnowError, match=r"Excluded: a seed 2 \(no finite score\)"):
        contrast(scores[(scores["arm"] == "b") | (scores["seed"] <= 2)], "a", "b")


def test_a_missing_score_excludes_no_prompt() -> None:
    rng = np.random.default_rng(12)
    scores = draw_study(rng, 0.0, items=336)
    thinned = scores[rng.random(len(scores)) > 0.05]
    found, complete = contrast(thinned, "a", "b"), contrast(scores, "a", "b")
    assert (found.items, found.items_left_out) == (336, 0)
    assert found.missing == len(scores) - len(thinned)
    assert found.difference == pytest.approx(complete.difference, abs=0.01)
    assert found.std_error == pytest.approx(complete.std_error, rel=0.05)


def test_missing_scores_are_imputed_by_the_least_squares_fit() -> None:
    rng = np.random.default_rng(13)
    scores = rng.normal(size=(4, 7))
    gaps = scores.copy()
    gaps[0, 1] = gaps[2, 5] = gaps[3, 5] = math.nan
    filled, missing = impute_missing(gaps, np.ones(7))
    known = ~np.isnan(gaps)
    seed, item = np.nonzero(known)
    design = np.hstack([np.eye(4)[seed], np.eye(7)[item]])
    effects = np.linalg.lstsq(design, gaps[known], rcond=None)[0]
    assert missing == 3
    assert filled[0, 1] == pytest.approx(effects[0] + effects[4 + 1])
    assert filled[2, 5] == pytest.approx(effects[2] + effects[4 + 5])


def test_intervals_cover_with_missing_scores() -> None:
    rng, covered = np.random.default_rng(14), 0
    for _ in range(STUDIES):
        gaps = [np.where(rng.random(side.shape) > 0.05, side, math.nan) for side in draw_arms(rng, 0.0)]
        (a, missing_a), (b, missing_b) = (impute_missing(side, np.ones(24)) for side in gaps)
        found = contrast_crossed_scores(CrossedScores("a", "b", a, b, np.ones(24), missing=(missing_a, missing_b)))
        covered += found.ci_low <= 0 <= found.ci_high
    assert covered / STUDIES >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / STUDIES)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_that_is_not_positive_is_an_error(weight: float) -> None:
    scores = draw_study(np.random.default_rng(15), 0.0, items=5).assign(weight=1.0)
    scores.loc[scores["item"] == "p3", "weight"] = weight
    with pytest.raises(WinnowError, match=r"expected a positive number for each item, got .* for item 'p3'") as caught:
        contrast(scores, "a", "b")
    assert caught.value.key == "weight"


@pytest.mark.parametrize("confidence", [95, 1.0, 0.0, math.nan])
def test_a_confidence_outside_0_and_1_is_an_error(confidence: float) -> None:
    with pytest.raises(WinnowError, match="between 0 and 1") as caught:
        summarize([1.0, 2.0], confidence)
    assert caught.value.key == "confidence"
    with pytest.raises(WinnowError, match="between 0 and 1"):
        contrast(draw_study(np.random.default_rng(16), 0.0), "a", "b", confidence)
