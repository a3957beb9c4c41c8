from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from winnow.comparison import bootstrap_interval, contrast, holm, permutation_p, summarize
from winnow.comparison.contrast_statistics import contrast_crossed_scores
from winnow.comparison.crossed_design import CrossedScores
from winnow.errors import WinnowError


def table(**arms: list[list[float]]) -> pd.DataFrame:
    """Return the seeds x items scores of each arm as a table with one row per score."""
    return pd.DataFrame(
        [
            (arm, seed, f"p{item}", score)
            for arm, seeds in arms.items()
            for seed, scores in enumerate(seeds)
            for item, score in enumerate(scores)
        ],
        columns=["arm", "seed", "item", "score"],
    )


def draw_scores(
    rng: np.random.Generator, seeds: int, items: int, effect: float = 0.0, spread: float = 0.4
) -> pd.DataFrame:
    common = rng.normal(size=items)

    def arm(shift: float) -> list[list[float]]:
        own, seed = rng.normal(0, 0.3, items), rng.normal(0, spread, (seeds, 1))
        return (common + own + shift + seed + rng.normal(0, 0.3, (seeds, items))).tolist()

    return table(a=arm(effect), b=arm(0.0))


def test_a_contrast_equals_a_calculation_by_hand() -> None:
    # Seed means a: 2, 4 (variance 2), b: 1, 1.5 (variance 1/8); item means of the difference: 1, 2.5 (variance 9/8).
    # Residuals of a are +-1/2, mean square 1 on 1 df; of b +-1/4, mean square 1/4 on 1 df.
    found = contrast(table(a=[[1, 3], [4, 4]], b=[[1, 1], [2, 1]]), "a", "b")
    assert found.difference == pytest.approx(1.75)
    assert found.variance_by_source == pytest.approx({"seeds": 1 + 1 / 16, "items": 9 / 16, "overlap": 1 / 4 + 1 / 16})
    variance = 1 + 1 / 16 + 9 / 16 - 5 / 16
    terms = [1, 1 / 16, 9 / 16, 1 / 4, 1 / 16]
    df = variance**2 / sum(term**2 for term in terms)
    assert found.std_error_source == "all"
    assert found.std_error == pytest.approx(math.sqrt(variance))
    assert found.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert (found.ci_low, found.ci_high) == pytest.approx((1.75 - half, 1.75 + half))
    assert found.p_value == pytest.approx(2 * stats.t.sf(1.75 / math.sqrt(variance), df))


def test_one_item_gives_welchs_t_test() -> None:
    a, b = [1.0, 2.0, 4.0], [0.5, 0.4, 0.9, 0.2]
    found = contrast(table(a=[[x] for x in a], b=[[x] for x in b]), "a", "b")
    welch = stats.ttest_ind(a, b, equal_var=False)
    interval = welch.confidence_interval()
    assert (found.p_value, found.df) == pytest.approx((welch.pvalue, welch.df))
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))
    assert (found.n_a, found.n_b, found.items) == (3, 4, 1)


def test_the_variance_is_at_least_that_of_seeds_or_items_alone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = contrast_crossed_scores(
            CrossedScores("a", "b", rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), np.ones(4))
        )
        assert found.std_error**2 >= max(found.variance_by_source["seeds"], found.variance_by_source["items"]) - 1e-12


def test_type_one_error_and_coverage_are_nominal_with_prompt_by_arm_variance() -> None:
    rng = np.random.default_rng(20)
    studies, seeds, items, truth = 1500, 5, 24, 0.5
    rejected = covered = 0
    for _ in range(studies):
        common = rng.normal(size=items)
        sides = [
            common
            + shift
            + rng.normal(0, 0.3, items)
            + rng.normal(0, 0.2, (seeds, 1))
            + rng.normal(0, 0.3, (seeds, items))
            for shift in (truth, 0.0)
        ]
        found = contrast_crossed_scores(CrossedScores("a", "b", *sides, np.ones(items)))
        covered += found.ci_low <= truth <= found.ci_high
        null = contrast_crossed_scores(CrossedScores("a", "b", sides[0] - truth, sides[1], np.ones(items)))
        rejected += null.p_value <= 0.05
    assert rejected / studies <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / studies)
    assert 0.93 <= covered / studies <= 0.97


def test_seed_means_alone_would_reject_too_often() -> None:
    """With few prompts a test on seed means mistakes the random variation of prompts for an effect."""
    rng = np.random.default_rng(3)
    ours = naive = 0
    for _ in range(400):
        common, seeds, items = rng.normal(size=5), 5, 5
        sides = [
            common + rng.normal(0, 0.6, items) + rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 0.3, (seeds, items))
            for _ in range(2)
        ]
        ours += contrast_crossed_scores(CrossedScores("a", "b", *sides, np.ones(items))).p_value <= 0.05
        naive += stats.ttest_ind(*(side.mean(axis=1) for side in sides), equal_var=False).pvalue <= 0.05
    assert ours / 400 <= 0.08
    assert naive / 400 > 0.2


def test_weights_give_the_token_mean_and_equal_weights_have_no_effect() -> None:
    scores = draw_scores(np.random.default_rng(1), 4, 6)
    even = contrast(scores.assign(weight=3.0), "a", "b")
    assert even == contrast(scores, "a", "b")
    weights = scores["item"].str[1:].astype(int) + 1.0
    found = contrast(scores.assign(weight=weights), "a", "b")
    means = [np.average(part["score"], weights=weights[part.index]) for _, part in scores.groupby("arm")]
    assert found.difference == pytest.approx(means[0] - means[1])


def test_items_without_scores_in_half_of_the_seeds_are_excluded() -> None:
    scores = draw_scores(np.random.default_rng(2), 4, 5)
    lost = (scores["arm"] == "a") & (scores["item"] == "p0") & (scores["seed"] < 2)
    found = contrast(scores[~lost], "a", "b")
    assert (found.items, found.items_left_out) == (4, 1)
    assert found.difference == pytest.approx(contrast(scores[scores["item"] != "p0"], "a", "b").difference)


def test_constant_scores_give_no_p_value() -> None:
    found = contrast(table(a=[[1, 1], [1, 1]], b=[[0, 0], [0, 0]]), "a", "b")
    assert found.difference == 1
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (table(a=[[1, 2]], b=[[1, 2], [2, 3]]), "at least 2"),
        (table(a=[[1.0], [2.0]], bb=[[1.0], [2.0]]), "no arm named 'b'"),
        (pd.concat([table(a=[[1], [2]], b=[[1], [2]])] * 2), "got duplicates"),
        (table(a=[[1, math.nan], [1, 2]], b=[[math.nan, 2], [3, 2]]), "no item in common"),
    ],
)
def test_invalid_score_tables_are_errors(scores: pd.DataFrame, message: str) -> None:
    with pytest.raises(WinnowError, match=message):
        contrast(scores, "a", "b")


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_a_test_that_could_not_be_computed() -> None:
    adjusted = holm([0.02, math.nan])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])


def test_summarize_returns_the_t_interval() -> None:
    found = summarize([1.0, 2.0, 4.0])
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem([1, 2, 4]))
    assert (found.n, found.mean, found.ci_low, found.ci_high) == pytest.approx((3, 7 / 3, low, high))
    assert math.isnan(summarize([1.0]).std)


def test_the_permutation_test_counts_all_permutations() -> None:
    scores = table(a=[[3.0], [4.0], [6.0]], b=[[1.0], [2.0], [3.5]])
    values = np.array([3, 4, 6, 1, 2, 3.5])
    differences = [abs(2 * sum(values[list(deal)]) - values.sum()) for deal in itertools.combinations(range(6), 3)]
    observed = abs(2 * 13 - values.sum())
    assert permutation_p(scores, "a", "b") == pytest.approx(np.mean([d >= observed - 1e-9 for d in differences]))


def test_sensitivity_checks_are_deterministic_and_detect_a_large_effect() -> None:
    scores = draw_scores(np.random.default_rng(5), 5, 30, effect=3.0, spread=0.2)
    low, high = bootstrap_interval(scores, "a", "b")
    assert (low, high) == bootstrap_interval(scores, "a", "b")
    assert 2 < low < contrast(scores, "a", "b").difference < high < 4
    assert permutation_p(scores, "a", "b") == pytest.approx(2 / 252)
