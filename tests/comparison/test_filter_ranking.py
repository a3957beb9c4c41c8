"""Several filters under test: joint adjustment, controls and ranks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from winnow.comparison import Comparison, analyze, collect_study, holm
from winnow.comparison.arm_estimates import ArmEstimates, MatrixTerm
from winnow.comparison.cost_endpoint import measure_cost
from winnow.comparison.filter_ranking import find_cause
from winnow.comparison.simultaneous_tests import simulate_null
from winnow.reporting.comparison_report import write_comparison_report
from winnow.reporting.comparison_tables import build_comparison_tables

FILTERS = {"nike_positive": "random_matched", "mild": "mild-random", "strict": "strict-random"}
SECONDARY = ("test/all/loss", "probe/nike_wide/positive_at_5")
EFFECTS = {"full": 0.0, "nike_positive": 0.1, "mild": 2.0, "strict": 2.02}


@pytest.fixture(scope="module")
def several(planted_store: Any) -> str:
    """A study with three filters under test; `strict` has the same effect as its control."""
    effects = EFFECTS | {"random_matched": 0.0, "mild-random": 0.0, "strict-random": 2.0}
    declaration = {"tested_filters": list(FILTERS), "controls": FILTERS}
    return str(
        planted_store.build(
            "several",
            effects,
            seeds=(1, 2, 3, 4),
            secondary=SECONDARY,
            templates=True,
            blocked=True,
            declaration=declaration,
        )
    )


@pytest.fixture(scope="module")
def comparison(planted_store: Any, several: str) -> Comparison:
    return analyze(collect_study(planted_store.uri, several))


def test_every_filter_is_tested_against_the_baseline_and_its_own_control(comparison: Comparison) -> None:
    primary = [finding for finding in comparison.findings if finding.family == "primary"]
    assert [(f.result.a, f.result.b) for f in primary] == [
        (arm, other) for arm, control in FILTERS.items() for other in ("full", control)
    ]
    assert {finding.adjustment for finding in primary} == {"joint"}
    by_holm = holm([finding.result.p_value for finding in primary])
    for finding, largest in zip(primary, by_holm, strict=True):
        assert finding.result.p_value <= finding.p_holm <= max(1.2 * largest, 0.001)
    targets = {"nike_positive": comparison.verdict, **comparison.other_verdicts}
    assert {arm: verdict.word for arm, verdict in targets.items()} == {
        "nike_positive": "no clear difference", "mild": "better", "strict": "better",
    }  # fmt: skip
    assert "mild is better than mild-random" in targets["mild"].sentences[-1]
    assert "strict does not clearly differ from strict-random" in targets["strict"].sentences[-1]


def test_filters_are_ranked(comparison: Comparison) -> None:
    ranking = comparison.filter_ranking
    assert ranking is not None
    assert (ranking.adjustment, ranking.contrasts) == ("joint", 6)
    assert set(ranking.best_set) == {"mild", "strict"}
    assert list(ranking.filters)[-1] == "nike_positive"
    assert ranking.filters["nike_positive"].rank_interval == (3, 3)
    assert ranking.filters["mild"].rank_interval == ranking.filters["strict"].rank_interval == (1, 2)
    assert ranking.filters["mild"].cause == "which rows are kept"
    assert ranking.filters["strict"].cause == "possibly how many rows are kept"
    assert ranking.filters["nike_positive"].cause == ""
    assert "cannot be distinguished from the best of the 3 filters" in ranking.sentence
    stored = comparison.as_dict()["filter_ranking"]
    assert stored["best_set"] == list(ranking.best_set)
    assert stored["filters"]["mild"]["rank_interval"] == [1, 2]
    assert stored["filters"]["mild"].keys() == {"cause", "rank", "rank_interval", "may_be_best"}


def test_secondary_metrics_are_tested_for_every_filter(comparison: Comparison) -> None:
    secondary = [finding for finding in comparison.findings if finding.family == "secondary"]
    assert [(f.metric, f.result.a, f.result.b) for f in secondary] == [
        (metric, arm, "full") for metric in SECONDARY for arm in FILTERS
    ]
    assert {finding.adjustment for finding in secondary} == {"joint"}
    for metric in SECONDARY:
        findings = [finding for finding in secondary if finding.metric == metric]
        smallest = min(findings, key=lambda finding: finding.result.p_value)
        assert smallest.p_holm >= min(1, len(SECONDARY) * smallest.result.p_value)
        bonferroni = len(secondary) * smallest.result.p_value
        assert smallest.p_holm <= max(1.2 * bonferroni, 0.001), "not more conservative than Bonferroni's method"


def test_other_endpoints_are_adjusted_over_the_filters(planted_store: Any, several: str) -> None:
    study = collect_study(planted_store.uri, several)
    declaration = dataclasses.replace(study.declaration, cost_margin=0.5)
    costs = {}
    for count in (1, 3):
        changed = dataclasses.replace(declaration, tested_filters=tuple(FILTERS)[:count])
        study = dataclasses.replace(study, declaration=changed)
        costs[count] = measure_cost(study, study.declaration.filters, 0.95)["nike_positive"].p
    assert costs[1] < costs[3] <= 3.5 * costs[1] + 1e-4


def test_arms_without_shared_seeds_are_corrected_by_holm(planted_store: Any, several: str) -> None:
    study = collect_study(planted_store.uri, several)
    # Every contrast still has seeds, but all arms together have none.
    left_out = {"mild": {1, 2}, "mild-random": {1, 2}, "strict": {3, 4}, "strict-random": {3, 4}}
    cells = tuple(cell for cell in study.cells if cell.seed not in left_out.get(cell.arm, ()))
    keep = {(cell.arm, cell.seed) for cell in cells}
    tables = {
        name: table[[pair in keep for pair in zip(table["arm"].astype(str), table["seed"], strict=True)]]
        for name in ("prompts", "fills", "rows")
        for table in [getattr(study, name)]
    }
    comparison = analyze(dataclasses.replace(study, cells=cells, **tables))
    primary = [finding for finding in comparison.findings if finding.family == "primary"]
    assert {finding.adjustment for finding in primary} == {"Holm"}
    assert [finding.p_holm for finding in primary] == holm([finding.result.p_value for finding in primary])
    assert comparison.filter_ranking is not None
    assert comparison.filter_ranking.best_set == ()
    assert "cannot be ranked" in comparison.filter_ranking.sentence


def test_the_report_shows_the_filters_only_if_there_are_several(
    planted_store: Any, several: str, comparison: Comparison, tmp_path: Path
) -> None:
    write_comparison_report(comparison, collect_study(planted_store.uri, several), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="filters">Filters under test</h2>' in page
    assert "adjusted jointly for all 6 contrasts" in page
    assert "adjusted for the 3 filters and for the number of secondary metrics" in page
    assert comparison.filter_ranking is not None
    assert f'<p class="detail">{comparison.filter_ranking.sentence}</p>' in page
    assert comparison.filter_ranking.sentence in comparison.paragraphs
    assert "p (Holm)" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    table = (tmp_path / "tables" / "filters.csv").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 4
    assert [table.name for table in build_comparison_tables(comparison)].count("filters") == 1
    single = dataclasses.replace(comparison, filter_ranking=None)
    assert "filters" not in [table.name for table in build_comparison_tables(single)]


def test_a_filter_without_a_clear_effect_needs_no_explanation(comparison: Comparison) -> None:
    by_pair = {(f.result.a, f.result.b): f for f in comparison.findings}
    effect, control = by_pair["mild", "full"], by_pair["mild", "mild-random"]
    assert find_cause(None, control) == ""
    assert find_cause(effect, None) == "unknown: not compared with a control"
    assert find_cause(effect, dataclasses.replace(control, outcome="worse")) == "unclear: worse than random rows"


def test_a_joint_p_value_agrees_with_the_maximum_of_independent_t_statistics() -> None:
    arms = tuple("abcdwxyz")
    covariance = MatrixTerm("seeds", "blocks", np.eye(8), 9)
    estimates = ArmEstimates(arms, np.arange(8.0), (covariance,))
    coefficients = estimates.build_coefficients([{a: 1, b: -1} for a, b in zip("abcd", "wxyz", strict=True)])
    adjusted = simulate_null(estimates, coefficients, 20_000).adjust(2 * stats.t.sf([3.0, 1.0, 0.5, 0.1], 9))
    assert adjusted[0] == pytest.approx(1 - (1 - 2 * stats.t.sf(3.0, 9)) ** 4, rel=0.06)
    assert adjusted[3] == pytest.approx(2 * stats.t.sf(0.1, 9), abs=0.01)
