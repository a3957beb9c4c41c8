"""The parts of a comparison other than the verdict: equality, power plans, contributions and post hoc marks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.comparison import Comparison, analyze, collect_study
from winnow.comparison.metric_scores import build_score_table
from winnow.errors import WinnowErrors
from winnow.metrics import Metric
from winnow.reporting import compare
from winnow.tracking import keys

LATER = 1_800_000_000_000


@pytest.fixture(scope="module")
def ablated(planted_store: Any) -> str:
    effects = {"full": 0.0, "nike_positive": 0.9, "random_matched": 0.0, "less_vader": 0.88, "less_nike": -0.1}
    return planted_store.build(
        "ablated", effects, seeds=(1, 2, 3), ablations={"less_vader": "vader", "less_nike": "nike"}, margin=5.0
    )


def test_contributions_compare_the_filter_with_the_filter_without_each_signal(planted_store: Any, ablated: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, ablated))
    assert set(comparison.contributions) == {"vader", "nike"}
    nike = comparison.contributions["nike"]
    assert (nike.result.a, nike.result.b) == ("nike_positive", "less_nike")
    assert nike.result.ci_low < 1.0 < nike.result.ci_high
    assert nike.outcome == "better"
    assert comparison.contributions["vader"].outcome == "no clear difference"
    assert nike.p_holm == pytest.approx(2 * nike.result.p_value)
    assert {f.result.b for f in comparison.findings if f.family == "primary"} == {"full", "random_matched"}
    assert comparison.as_dict()["contributions"]["nike"]["difference"] == nike.result.difference


def test_a_declared_margin_applies_to_both_primary_contrasts(planted_store: Any, ablated: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, ablated))
    assert [f.equal for f in comparison.findings if f.family == "primary"] == [True, True]
    assert "within the declared margin of 5" in " ".join(comparison.paragraphs)
    assert all(f.equal is None for f in comparison.findings if f.family != "primary")


def test_seeds_are_planned_for_the_margin_and_the_observed_difference(planted_store: Any, ablated: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, ablated))
    plan, first = comparison.sample_size_plans[0], comparison.findings[0].result
    assert (plan.a, plan.b, plan.alpha) == ("nike_positive", "full", pytest.approx(0.025))
    assert set(plan.seeds_needed) == {5.0, abs(first.difference), abs(first.difference) / 2}
    needed = [plan.seeds_needed[size] or 1000 for size in sorted(plan.seeds_needed)]
    assert needed == sorted(needed, reverse=True)
    assert plan.seeds_needed[5.0] == 2
    assert (plan.seeds_needed[abs(first.difference)] or 1000) > 3 or plan.smallest_difference <= abs(first.difference)


def test_every_metric_has_its_value_for_each_seed(planted_store: Any, planted: str) -> None:
    points = analyze(collect_study(planted_store.uri, planted)).metrics["test/all/loss"]["full"]
    assert points.seeds == [1, 2, 3, 4, 5]
    assert len(points.values) == points.n == 5
    assert sum(points.values) / 5 == pytest.approx(points.mean)


def declare_again(planted_store: Any, name: str, **changes: Any) -> None:
    experiment = planted_store.client.get_experiment_by_name(name).experiment_id
    parent = planted_store.client.create_run(experiment, tags={keys.KIND: "study"}, start_time=LATER * 10)
    first = json.loads(json.dumps(planted_store.declaration(name)))
    planted_store.client.log_text(parent.info.run_id, json.dumps(first | changes), keys.DECLARATION)


def test_metrics_and_margins_declared_after_the_first_run_are_post_hoc(planted_store: Any) -> None:
    name = planted_store.build("late", seeds=(1, 2), secondary=("test/all/loss",))
    declare_again(
        planted_store, name, secondary_metrics=["test/all/loss", "test/all/perplexity"], equivalence_margin=9.0
    )
    study = collect_study(planted_store.uri, name)
    comparison = analyze(study)
    marked = {finding.metric: finding.post_hoc for finding in comparison.findings if finding.family == "secondary"}
    assert marked == {"test/all/loss": False, "test/all/perplexity": True}
    assert comparison.equivalence_margin is None
    assert not comparison.findings[0].post_hoc
    assert any("equivalence margin 9.0 was set after the first run" in note for note in comparison.notes)


def test_prompts_without_wanted_words_are_compared_in_the_scores_of_forbidden_words(
    planted_store: Any, planted: str
) -> None:
    study = collect_study(planted_store.uri, planted)
    prompts = study.prompts.drop(columns=["log_odds", "wanted_mass", "unwanted_mass", "positive_at_5"])
    prompts = prompts.assign(scored=False, forbidden_mrr=study.prompts["unwanted_mass"])  # as in a HONEST probe
    prompts = prompts.assign(forbidden_mrr=prompts["forbidden_mrr"].fillna(0.5))
    metric = "probe/nike/forbidden_mrr"
    declaration = dataclasses.replace(study.declaration, primary_metric=metric, secondary_metrics=())
    study = dataclasses.replace(study, prompts=prompts, declaration=declaration)
    (first, *_), registered = analyze(study).findings, study.registry.metric(metric)
    assert first.result.items == 5
    assert first.result.difference < 0  # unwanted words became less likely
    assert len(build_score_table(study, registered, "full", "nike_positive")) == 50


def test_an_extra_metric_is_described_and_marked_post_hoc(planted_store: Any, planted: str) -> None:
    study = collect_study(planted_store.uri, planted)
    comparison = analyze(study, extra_metrics=("probe/nike/log_odds",))
    (extra,) = [finding for finding in comparison.findings if finding.metric == "probe/nike/log_odds"]
    assert (extra.family, extra.post_hoc, extra.outcome) == ("descriptive", True, None)
    assert comparison.not_comparable == []
    with pytest.raises(WinnowErrors) as caught:
        analyze(study, extra_metrics=("probe/nike/log_odd", "test/al/loss", "banana"))
    assert [error.key for error in caught.value.errors] == ["metrics"] * 3
    for text in (
        "Did you mean 'log_odds'",
        "Did you mean 'all'",
        "unknown metric 'banana'",
        "Available: log_odds, positive",
    ):
        assert text in str(caught.value)


LOWER = (
    "test/all/ece",
    "test/all/pseudo_perplexity",
    *(f"probe/nike/forbidden_{kind}_at_{k}" for kind in ("hit", "share") for k in (1, 5, 10, 20)),
    "probe/nike/forbidden_mrr",
)


@pytest.fixture(scope="module")
def higher_values(planted_store: Any) -> Comparison:
    """A study whose filter raises metrics of which lower is better, and two of which higher is."""
    higher = ("test/all/mrr", "probe/nike/forbidden_best_rank")
    name = planted_store.build(
        "raised", metric_effects=dict.fromkeys((*LOWER, *higher), 0.1), secondary=(*LOWER, *higher)
    )
    return analyze(collect_study(planted_store.uri, name))


@pytest.mark.parametrize("metric", LOWER)
def test_a_metric_that_gets_worse_is_reported_as_worse(higher_values: Comparison, metric: str) -> None:
    (finding,) = [entry for entry in higher_values.findings if entry.metric == metric]
    assert finding.result.difference > 0
    assert finding.outcome == "worse"
    assert higher_values.as_dict()["metric_info"][metric]["direction"] == "lower"


def test_a_metric_that_gets_better_is_reported_as_better(higher_values: Comparison) -> None:
    outcomes = {finding.metric: finding.outcome for finding in higher_values.findings}
    assert outcomes["test/all/mrr"] == outcomes["probe/nike/forbidden_best_rank"] == "better"


def test_a_declared_metric_without_a_direction_gets_no_verdict(planted_store: Any) -> None:
    metric = "probe/nike/filter_overlap"
    name = planted_store.build("descriptive", metric_effects={metric: 0.1}, secondary=(metric,))
    (refused,) = analyze(collect_study(planted_store.uri, name)).not_comparable
    assert refused["metric"] == metric
    assert "neither higher nor lower values are better" in refused["reason"]


def test_prompts_are_clustered_by_template_and_slot(planted_store: Any) -> None:
    comparison = analyze(
        collect_study(planted_store.uri, planted_store.build("clustered", templates=True, blocked=True))
    )
    first = comparison.findings[0].result
    assert first.levels == {"template": 8, "product": 5}
    assert first.blocked
    assert set(comparison.sample_size_plans[0].levels_needed[abs(first.difference)]) == {"template", "product"}
    assert "items assumed independent" not in comparison.verdict.reason
    assert comparison.as_dict()["contrasts"][0]["levels"] == {"template": 8, "product": 5}


def test_an_old_study_is_marked_as_assuming_independent_items(planted_store: Any, planted: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, planted))
    assert comparison.verdict.reason.endswith("items assumed independent")
    assert any("items assumed independent" in note for note in comparison.notes)
    assert not comparison.findings[0].result.blocked


def test_a_baseline_that_is_the_control_is_tested_once(planted_store: Any) -> None:
    comparison = analyze(collect_study(planted_store.uri, planted_store.build("one-control", control="full")))
    (first,) = [finding for finding in comparison.findings if finding.family == "primary"]
    assert first.p_holm == first.result.p_value
    assert "remains unknown" in comparison.verdict.sentences[-1]


def test_a_run_without_a_finite_score_is_excluded_and_listed(planted_store: Any) -> None:
    name = planted_store.build("diverged", secondary=("test/all/loss",))
    run_id = collect_study(planted_store.uri, name).get_cells("full")[2].run_id
    path = planted_store.folder / "artifacts" / name / run_id / "artifacts" / keys.PROMPT_RESULTS
    table = pq.read_table(path)
    lost = pa.array([float("nan")] * len(table))
    pq.write_table(table.set_column(table.column_names.index("log_odds"), "log_odds", lost), path)
    comparison = analyze(collect_study(planted_store.uri, name))
    assert (comparison.findings[0].result.n_a, comparison.findings[0].result.n_b) == (5, 4)
    assert comparison.findings[0].result.items == 40
    assert any("full seed 3 (no finite score)" in note for note in comparison.notes)


def test_an_unrelated_arm_without_its_table_changes_nothing(planted_store: Any) -> None:
    name = planted_store.build("lost-control", secondary=("test/all/loss",))
    before = analyze(collect_study(planted_store.uri, name)).findings[0].result
    run_id = collect_study(planted_store.uri, name).get_cells("random_matched")[0].run_id
    (planted_store.folder / "artifacts" / name / run_id / "artifacts" / keys.PROMPT_RESULTS).unlink()
    study = collect_study(planted_store.uri, name)
    comparison = analyze(study)
    assert comparison.findings[0].result == before
    assert comparison.findings[1].result.seeds_left_out == ("random_matched seed 1 (no finite score)",)
    assert len(build_score_table(study, Metric("probe/nike_wide/log_odds"), "random_matched")["item"].unique()) == 40


@pytest.mark.parametrize(("kind", "levels"), [("template", {"template": 15}), (None, {"items": 150})])
def test_held_out_rows_are_nested_in_their_clusters(
    planted_store: Any, kind: str | None, levels: dict[str, int]
) -> None:
    name = planted_store.build(f"clusters-{kind}", cluster_kind=kind, secondary=("test/all/loss",))
    comparison = analyze(collect_study(planted_store.uri, name))
    (loss,) = [finding.result for finding in comparison.findings if finding.family == "secondary"]
    assert loss.levels == levels
    assert loss.assumed_independent is (kind is None)
    assert loss.items == 150


def test_passes_and_leakage_are_shown_for_every_arm(planted_store: Any, tmp_path: Path) -> None:
    leakage = {"exact": 0.0, "near": 0.019, "one_word": 0.967, "two_words": 0.99}
    name = planted_store.build("similar", seeds=(1, 2), secondary=("test/all/loss",), leakage=leakage)
    comparison = compare(planted_store.uri, name, tmp_path)
    assert comparison.arms["full"].passes == pytest.approx(812_345 / 80_000)
    assert comparison.arms["nike_positive"].passes == pytest.approx(812_345 / 28_700)
    assert comparison.as_dict()["leakage"] == {"test": leakage}
    assert any("96.7% of the test rows differ from a training row in at most one word" in n for n in comparison.notes)
    page = (tmp_path / "report.html").read_text()
    assert "96.7% differ from a training row in at most one word" in page
    assert "<th>passes over the rows</th>" in page
    assert "10.2" in (tmp_path / "tables" / "arms.md").read_text()


def test_a_probe_with_forbidden_words_only_keeps_all_of_its_prompts(planted_store: Any) -> None:
    """Prompts like those of HONEST have no wanted words, so they have no log odds but other scores."""
    metric = "probe/nike_wide/forbidden_mrr"
    name = planted_store.build("forbidden", seeds=(1, 2, 3), secondary=(metric,), blocked=True)
    for cell in collect_study(planted_store.uri, name).cells:
        path = planted_store.folder / "artifacts" / name / cell.run_id / "artifacts" / keys.PROMPT_RESULTS
        table = pq.read_table(path).to_pandas()
        scores = np.random.default_rng([cell.seed, len(cell.arm)]).uniform(0, 0.5, len(table))
        table = table.assign(scored=False, log_odds=np.nan, forbidden_mrr=scores + 0.4 * (cell.arm == "full"))
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), path)
    comparison = analyze(collect_study(planted_store.uri, name))
    (finding,) = [finding for finding in comparison.findings if finding.metric == metric]
    assert finding.result.items == 40
    assert finding.result.items_left_out == 0
    assert finding.outcome == "better"


def test_a_change_in_percent_that_is_not_significant_is_marked(planted_store: Any) -> None:
    metrics = tuple(f"probe/nike_wide/{score}" for score in ("unwanted_mass", "wanted_mass"))
    effects = {"full": 0.0, "nike_positive": 0.0}
    name = planted_store.build("unclear-masses", effects, seeds=(1, 2, 3), secondary=metrics)
    comparison = analyze(collect_study(planted_store.uri, name))
    outcomes = {finding.metric: finding.outcome for finding in comparison.findings}
    assert [outcomes[metric] for metric in metrics] == ["no clear difference"] * 2
    assert comparison.probability_change is not None
    assert comparison.probability_change.sentence.count("% (not clear)") == 2
