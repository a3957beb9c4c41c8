"""Joint estimates of several arms: single contrasts, simultaneous tests, factors, doses and rankings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from winnow.comparison import contrast
from winnow.comparison.arm_estimates import ArmEstimates, MatrixTerm, estimate_arms
from winnow.comparison.arm_ranking import may_be_best, rank_arms
from winnow.comparison.crossed_design import ArmScores, pivot_arms
from winnow.comparison.dose_trend import estimate_trend
from winnow.comparison.factor_effects import estimate_factor_effects
from winnow.comparison.simultaneous_tests import estimate_calibrated, estimate_jointly, simulate_null
from winnow.errors import WinnowError


def draw_table(arms: str, missing: int = 0) -> pd.DataFrame:
    rng, rows = np.random.default_rng(5), []
    for shift, arm in enumerate(arms):
        scores = rng.normal(0, 0.4, (6, 1)) + rng.normal(0, 0.3, 5) + rng.normal(0, 0.2, (6, 5)) + 0.1 * shift
        scores = scores + rng.normal(0, 0.2, (5, 1, 1)) + rng.normal(0, 0.1, (5, 6, 5))
        rows += [
            (arm, seed, f"{t}-{p}", score, t + 1.0, f"t{t}", f"p{p}") for (seed, t, p), score in np.ndenumerate(scores)
        ]
    columns = ["arm", "seed", "item", "score", "weight", "factor:template", "factor:product"]
    table = pd.DataFrame(rows, columns=columns)
    return table.drop(index=rng.choice(len(table), missing, replace=False))


def as_arms(values: NDArray[np.float64], blocked: bool = True) -> ArmScores:
    """Return arms named 0, 1, ... that are scored on a single item, from values of shape (arms, seeds)."""
    return ArmScores(tuple(map(str, range(len(values)))), tuple(row[:, None] for row in values), np.ones(1), 0, blocked)


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("missing", [0, 4])
def test_two_of_several_arms_are_compared_as_by_contrast(blocked: bool, missing: int) -> None:
    table = draw_table("abc", missing)
    arms = "ab" if missing and blocked else "abc"  # with blocks, the imputed scores of all arms count
    estimates = estimate_arms(pivot_arms(table, list(arms), blocked))
    effects = estimates.estimate(estimates.build_coefficients([{"a": 1, "b": -1}, {"a": 2, "b": -2}]))
    single = contrast(table, "a", "b", blocked=blocked)
    expected = (single.difference, single.std_error, single.df, single.p_value)
    observed = (effects.estimate, effects.std_error, effects.df, effects.p_value)
    assert [values[0] for values in observed] == pytest.approx(expected, rel=1e-9)
    assert effects.interval(0.05)[0][0] == pytest.approx(single.ci_low)
    assert effects.statistic[1] == pytest.approx(effects.statistic[0])


def test_a_constant_difference_has_no_p_value() -> None:
    values = np.random.default_rng(0).normal(size=5)
    effects = estimate_jointly(estimate_arms(as_arms(np.stack([values + 1, values]))), {"1": {"0": 1, "1": -1}})
    assert effects["1"].estimate == pytest.approx(1)
    assert np.isnan([effects["1"].p_value, effects["1"].ci_low]).all()


def test_correlations_are_those_of_many_seeds_and_shrink_with_few() -> None:
    rng = np.random.default_rng(1)
    contrasts = [{"0": 1, "2": -1}, {"1": 1, "2": -1}]
    correlations = []
    for seeds in (20_000, 5):
        estimates = estimate_arms(as_arms(rng.normal(size=(3, seeds))))
        correlations.append(estimates.correlate(estimates.build_coefficients(contrasts))[0, 1])
    assert correlations[0] == pytest.approx(0.5, abs=0.02)
    differences = rng.normal(size=(3, 5))
    estimates = estimate_arms(as_arms(differences))
    observed = np.corrcoef(differences[0] - differences[2], differences[1] - differences[2])[0, 1]
    shrunk = estimates.correlate(estimates.build_coefficients(contrasts))[0, 1]
    assert shrunk == pytest.approx(observed * max(0.0, 1 - (1 - observed**2) ** 2 / 4 / observed**2))


def as_estimates(correlation: NDArray[np.float64], df: float) -> ArmEstimates:
    """Return estimates of arms whose means have the given correlation matrix, and a baseline without variance."""
    covariance = np.zeros((len(correlation) + 1,) * 2)
    covariance[:-1, :-1] = correlation
    return ArmEstimates(
        (*"abcdefgh"[: len(correlation)], "z"),
        np.ones(len(covariance)),
        (MatrixTerm("seeds", "blocks", covariance, df),),
    )


def compare_with_baseline(estimates: ArmEstimates) -> NDArray[np.float64]:
    return estimates.build_coefficients([{arm: 1, "z": -1} for arm in estimates.arms[:-1]])


def test_simultaneous_level_agrees_with_the_multivariate_normal_distribution() -> None:
    correlation = np.full((4, 4), 0.6) + 0.4 * np.eye(4)
    estimates = as_estimates(correlation, 1e6)
    level = simulate_null(estimates, compare_with_baseline(estimates), 50_000).find_level(0.05)
    limit = stats.norm.ppf(1 - level / 2)
    box = stats.multivariate_normal(cov=correlation, seed=1)
    assert box.cdf(np.full(4, limit), lower_limit=np.full(4, -limit)) == pytest.approx(0.95, abs=0.004)


def test_independent_contrasts_have_the_level_of_sidak() -> None:
    estimates = as_estimates(np.eye(5), 4)
    null = simulate_null(estimates, compare_with_baseline(estimates), 50_000)
    assert null.find_level(0.05) == pytest.approx(1 - 0.95**0.2, rel=0.05)
    # The exact joint p-value of the smallest of 5 independent p-values.
    p_values = np.array([0.02, 0.5, 0.3, 0.9, np.nan])
    assert null.adjust(p_values)[0] == pytest.approx(1 - 0.98**5, abs=0.005)
    assert null.adjust(p_values, two_sided=False)[0] == pytest.approx(1 - 0.98**5, abs=0.005)
    assert np.isnan(null.adjust(p_values)).tolist() == [False] * 4 + [True]


def test_adjusted_p_values_step_down() -> None:
    estimates = as_estimates(np.full((3, 3), 0.9) + 0.1 * np.eye(3), 100)
    adjusted = simulate_null(estimates, compare_with_baseline(estimates)).adjust(np.array([0.04, 1e-9, 0.03]))
    assert adjusted[1] == pytest.approx(1e-4, rel=0.01), "one of 10,001"
    assert 0.03 < adjusted[2] < 0.05, "Holm's method gives 0.06"
    assert adjusted[2] <= adjusted[0] < 0.05


def test_approximate_degrees_of_freedom_are_part_of_the_simulated_distribution() -> None:
    # Two sources of variance, of which the one with 2 degrees of freedom dominates: small p-values are too frequent.
    size, matrix = 30, np.diag([1.0] * 30 + [0.0])
    arms = tuple(map(str, range(size + 1)))
    terms = (MatrixTerm("seeds", "blocks", matrix, 2), MatrixTerm("template", "", 0.2 * matrix, 20))
    estimates = ArmEstimates(arms, np.ones(size + 1), terms)
    coefficients = estimates.build_coefficients([{arm: 1, arms[-1]: -1} for arm in arms[:-1]])
    null = simulate_null(estimates, coefficients, 20_000)
    assert null.find_level(0.05) < 0.8 * 0.05 / size
    rng, rejected = np.random.default_rng(1), 0
    level = null.find_level(0.05)
    for _ in range(400):
        drawn = [
            replace(
                term, matrix=np.diag(np.append(np.diag(term.matrix)[0] * rng.chisquare(term.df, size) / term.df, 0))
            )
            for term in terms
        ]
        means = np.append(rng.normal(0, 1.2**0.5, size), 0)
        rejected += (replace(estimates, means=means, terms=tuple(drawn)).estimate(coefficients).p_value <= level).any()
    assert 0.02 < rejected / 400 < 0.08


@pytest.mark.parametrize("blocked", [True, False])
def test_factor_effects_agree_with_t_tests(blocked: bool) -> None:
    values = np.random.default_rng(3).normal(size=(4, 6)) + np.array([1.0, 0.0, 0.2, 0.0])[:, None]
    estimates = estimate_arms(as_arms(values, blocked))
    effects = estimate_factor_effects(estimates, {"low": ("0", "1"), "high": ("2", "3")})
    a, b, c, d = values
    difference = effects.interactions["low", "high"]
    assert difference.estimate == pytest.approx((a - b - c + d).mean())
    assert effects.average.estimate == pytest.approx((a - b + c - d).mean() / 2)
    assert effects.interaction_p == difference.p_adjusted
    if blocked:
        assert effects.interaction_p == pytest.approx(stats.ttest_1samp(a - b - c + d, 0).pvalue)
        assert effects.average.p_value == pytest.approx(stats.ttest_1samp(a - b + c - d, 0).pvalue)
        assert effects.levels["low"].p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)
    else:
        assert effects.levels["low"].p_value == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
        variance = values.var(axis=1, ddof=1) / 6
        df = variance.sum() ** 2 / (variance**2 / 5).sum()
        assert difference.p_value == pytest.approx(2 * stats.t.sf(abs(difference.estimate) / variance.sum() ** 0.5, df))
        assert effects.interaction_p == pytest.approx(difference.p_value, abs=0.02), "calibrated"
    low = min(effects.levels.values(), key=lambda effect: effect.p_value)
    assert low.p_value < low.p_adjusted <= 2.2 * low.p_value
    width = (low.ci_high - low.ci_low) / low.std_error
    assert 2 * stats.t.ppf(0.975, low.df) < width < 2 * stats.t.ppf(0.99, low.df)


def test_levels_may_share_a_baseline() -> None:
    values = np.random.default_rng(4).normal(size=(3, 5))
    effects = estimate_factor_effects(estimate_arms(as_arms(values)), {"low": ("0", "2"), "high": ("1", "2")})
    assert effects.interaction_p == pytest.approx(stats.ttest_rel(values[0], values[1]).pvalue)
    assert effects.average.estimate == pytest.approx((values[0] + values[1]).mean() / 2 - values[2].mean())
    with pytest.raises(WinnowError, match="at least 2 levels"):
        estimate_factor_effects(estimate_arms(as_arms(values)), {"low": ("0", "2")})


@pytest.mark.parametrize(("seeds", "low", "high"), [(0.93, 0.053, 0.065), (1.0, 0.05, 0.05)])
def test_a_single_contrast_is_calibrated(seeds: float, low: float, high: float) -> None:
    """Satterthwaite's approximation is exact for one term, and too liberal if one with few df is almost everything."""
    shape = np.array([[1.0, -1.0], [-1.0, 1.0]]) / 4
    terms = (MatrixTerm("seeds", "blocks", seeds * shape, 4), MatrixTerm("template", "", (1 - seeds) * shape, 23))
    df = 1 / (seeds**2 / 4 + (1 - seeds) ** 2 / 23)
    estimates = ArmEstimates(("a", "b"), np.array([stats.t.ppf(0.975, df), 0.0]), terms)
    effect = estimate_calibrated(estimates, {"a": 1.0, "b": -1.0})
    assert effect.p_value == pytest.approx(0.05)
    assert low - 1e-9 <= effect.p_adjusted <= high + 1e-9
    assert (effect.ci_low <= 1e-9) == (effect.p_adjusted >= 0.05 - 1e-9)


def test_simultaneous_intervals_of_two_seeds_are_finite() -> None:
    shape, arms = np.diag([1.0, 0.01, 1.0]), ("a", "b", "full")
    terms = (MatrixTerm("seeds", "blocks", 0.9 * shape, 1), MatrixTerm("template", "", 0.1 * shape, 23))
    contrasts = {name: {name: 1.0, "full": -1.0} for name in "ab"}
    effects = estimate_jointly(ArmEstimates(arms, np.array([2.0, 1.0, 0.0]), terms), contrasts)
    for effect in effects.values():
        assert 2 * effect.std_error < effect.ci_high - effect.estimate < 30 * effect.std_error


def test_trend_agrees_with_regressions_of_single_seeds() -> None:
    doses, values = np.array([0.1, 0.3, 0.5, 0.9]), np.random.default_rng(6).normal(size=(6, 7))
    names = dict(zip("0123", doses, strict=True))
    trend = estimate_trend(estimate_arms(as_arms(values)), names)
    slopes = [stats.linregress(doses, column[:4]).slope for column in values.T]
    assert trend.estimate == pytest.approx(np.mean(slopes))
    assert trend.p_value == trend.p_adjusted == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)
    # Two doses share a control.
    controlled = estimate_trend(estimate_arms(as_arms(values)), names, {"0": "4", "1": "4", "2": "5", "3": "5"})
    effects = values[:4] - values[[4, 4, 5, 5]]
    assert controlled.estimate == pytest.approx(stats.linregress(doses, effects.mean(axis=1)).slope)
    with pytest.raises(WinnowError, match="at least 3 different doses, got 2"):
        estimate_trend(estimate_arms(as_arms(values)), {"0": 0.1, "1": 0.2, "2": 0.2})


def test_ranking_separates_clearly_different_arms() -> None:
    shift = np.array([0.0, 10.0, 10.01, 5.0])
    estimates = estimate_arms(as_arms(np.random.default_rng(7).normal(0, 0.3, (4, 8)) + shift[:, None]))
    ranking = rank_arms(estimates, ["0", "1", "2", "3"])
    assert set(ranking.best_set) == {"1", "2"}
    assert ranking.rank_intervals == {"0": (4, 4), "1": (1, 2), "2": (1, 2), "3": (3, 3)}
    assert sorted(ranking.ranks.values()) == [1, 2, 3, 4]
    lowest = rank_arms(estimates, ["0", "1", "3"], higher_is_better=False)
    assert lowest.best_set == ("0",)
    assert lowest.ranks == {"0": 1, "3": 2, "1": 3}


def test_the_best_of_two_arms_is_found_by_a_one_sided_test() -> None:
    values = np.random.default_rng(8).normal(size=(2, 12))
    estimates = estimate_arms(as_arms(values))
    for confidence in np.linspace(0.6, 0.999, 12):
        p = stats.ttest_rel(values[1], values[0], alternative="greater").pvalue
        assert may_be_best(estimates, ["0", "1"], "0", confidence=confidence) == (p > 1 - confidence)
