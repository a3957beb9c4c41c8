"""The endpoints and the verdict of planted studies, and what makes a verdict post hoc."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from winnow.comparison import Comparison, InterimLooks, analyze, collect_study
from winnow.comparison.study_looks import find_look
from winnow.tracking import keys

DECLARED = {
    "specificity_metric": "probe/nike_wide/specific_log_odds",
    "subjects": ["Nike"],
    "comparison_subjects": ["Adidas", "Puma"],
    "guard_metric": "test/all/loss",
    "cost_margin": 0.5,
    "looks": [],
}
ARMS = ("full", "nike_positive", "random_matched")
NUMBERS = itertools.count()
Build = Callable[..., str]


@pytest.fixture
def build(planted_store: Any) -> Build:
    """Build a study with declared endpoints; the effect elsewhere applies to the filter's arm."""

    def build(elsewhere: float = 0.0, declared: dict[str, Any] | None = None, **fields: Any) -> str:
        effects = fields.get("effects") or dict.fromkeys(ARMS, 0.0) | {"nike_positive": 0.9}
        fields = {"secondary": (), "seeds": (1, 2, 3), "templates": True, "blocked": True} | fields
        return str(
            planted_store.build(
                f"endpoints-{next(NUMBERS)}",
                effects=effects,
                elsewhere={arm: elsewhere if arm == "nike_positive" else 0.0 for arm in effects},
                declaration=DECLARED | (declared or {}),
                **{key: value for key, value in fields.items() if key != "effects"},
            )
        )

    return build


def compare(planted_store: Any, name: str) -> Comparison:
    return analyze(collect_study(planted_store.uri, name))


def declare_again(planted_store: Any, name: str, **changes: Any) -> None:
    experiment = planted_store.client.get_experiment_by_name(name).experiment_id
    parent = planted_store.client.create_run(
        experiment, tags={keys.KIND: "study"}, start_time=18_000_000_000_000 + next(NUMBERS)
    )
    declaration = planted_store.declaration(name) | changes
    planted_store.client.log_text(parent.info.run_id, json.dumps(declaration), keys.DECLARATION)


def add_seed(planted_store: Any, name: str, seed: int) -> None:
    for arm in ARMS:
        planted_store.add_cell(name, arm, seed)


def test_a_specific_effect_within_the_margin_is_green(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(seeds=(1, 2, 3, 4, 5)))
    endpoints, verdict = comparison.endpoints, comparison.verdict
    assert (endpoints.target.verdict, endpoints.specificity.verdict) == ("better", "specific")
    assert (endpoints.cost.verdict, verdict.green, verdict.color) == ("within margin", True, "green")
    assert verdict.sentence.startswith(
        "Better on nike_wide; specific to Nike; cost within the margin: test perplexity "
    )
    assert endpoints.specificity.interval[0] < 0.9 < endpoints.specificity.interval[1]
    assert verdict.p == max(endpoints.target.p, endpoints.specificity.p, 2 * endpoints.cost.p)
    written = comparison.as_dict()
    assert written["verdict"]["green"] is True
    for name in ("target", "specificity", "cost"):
        assert {"estimate", "interval", "p", "verdict"} <= set(written["endpoints"][name])
    slices = written["endpoints"]["cost"]["slices"]
    assert slices["kept"]["estimate"] < 0 < endpoints.cost.estimate < slices["removed"]["estimate"]


def test_an_effect_that_is_as_large_elsewhere_is_not_specific(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(elsewhere=0.9))
    assert comparison.endpoints.specificity.verdict == "not specific"
    assert "; not specific to Nike; " in comparison.verdict.sentence
    assert comparison.verdict.sentences[1].endswith("The whole interval lies below half of the target effect.")
    assert not comparison.verdict.green


def test_a_wide_interval_does_not_exclude_a_specific_effect(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(elsewhere=0.87, effects={"full": 0.0, "nike_positive": 0.05}))
    assert comparison.endpoints.target.verdict == "no clear difference"
    assert comparison.endpoints.specificity.verdict == "not specific"
    comparison = compare(planted_store, build(elsewhere=0.05, effects={"full": 0.0, "nike_positive": 0.05}))
    assert comparison.endpoints.specificity.verdict == "unclear"
    assert "not shown to be specific to Nike" in comparison.verdict.sentence


def test_a_cost_above_the_margin_is_never_green(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(declared={"cost_margin": 0.02}))
    assert comparison.endpoints.cost.verdict == "worse"
    assert "; cost above the margin: test perplexity " in comparison.verdict.sentence
    assert comparison.verdict.color == "amber"


def test_without_a_margin_the_cost_is_untested_and_the_verdict_never_green(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(declared={"cost_margin": None}))
    assert comparison.endpoints.cost.verdict == "untested"
    assert comparison.endpoints.cost.estimate > 0
    assert comparison.verdict.sentence.endswith("; cost untested.")
    assert math.isnan(comparison.verdict.p)
    assert not comparison.verdict.green


def test_a_guard_metric_that_does_not_vary_is_untested(planted_store: Any, build: Build) -> None:
    cost = compare(planted_store, build(declared={"guard_metric": "test/all/top5"})).endpoints.cost
    assert (cost.verdict, cost.estimate) == ("untested", 0.0)
    assert "do not vary between seeds" in str(cost.reason)


def test_a_probe_without_a_subject_has_no_specificity(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(declared={"specificity_metric": "none", "subjects": []}))
    assert comparison.endpoints.specificity.verdict == "none"
    assert "; specificity not applicable; " in comparison.verdict.sentence
    assert comparison.verdict.green


def test_a_filter_without_effect_is_never_green(planted_store: Any, build: Build) -> None:
    comparison = compare(planted_store, build(effects=dict.fromkeys(ARMS, 0.0)))
    assert comparison.endpoints.target.verdict == "no clear difference"
    assert not comparison.verdict.green
    assert comparison.verdict.p > 0.05


def test_each_endpoint_is_adjusted_over_the_filters_under_test(planted_store: Any, build: Build) -> None:
    effects = {"full": 0.0, "nike_positive": 0.9, "random_matched": 0.0, "other": 0.1}
    both = compare(planted_store, build(effects=effects, declared={"tested_filters": ["nike_positive", "other"]}))
    one = compare(planted_store, build(effects=effects, declared={"tested_filters": ["nike_positive"]}))
    assert set(both.other_verdicts) == {"other"}
    assert not one.other_verdicts
    assert one.filter_ranking is None
    assert one.endpoints.specificity.p <= both.endpoints.specificity.p <= max(2.2 * one.endpoints.specificity.p, 0.001)
    assert both.endpoints.cost.p >= one.endpoints.cost.p
    pairs = [(f.result.a, f.result.b) for f in both.findings if f.family == "primary"]
    assert pairs == [("nike_positive", "full"), ("nike_positive", "random_matched"), ("other", "full")]


def test_word_frequencies_are_decided_for_each_filter_under_test(planted_store: Any, build: Build) -> None:
    effects = {"full": 0.0, "nike_positive": 0.9, "random_matched": 0.0, "other": 0.9}
    name = build(effects=effects, trigram_gap=0.4, declared={"tested_filters": ["nike_positive", "other"]})
    study = collect_study(planted_store.uri, name)
    rows = study.rows.copy()
    rows.loc[(rows["stage"] == "trigram") & (rows["arm"] == "other"), "loss_sum"] *= 0.5
    comparison = analyze(dataclasses.replace(study, rows=rows))
    assert comparison.verdict.word == "better"
    assert comparison.other_verdicts["other"].word == "learned only word frequencies"
    assert "other: " in comparison.other_verdicts["other"].sentence


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"filter": "random_matched", "control": "nike_positive"},
            "filter changed from nike_positive to random_matched; control changed from random_matched to nike_positive",
        ),
        ({"baseline": "random_matched", "control": "full"}, "baseline changed from full to random_matched; control"),
        ({"primary_metric": "test/all/loss"}, "primary metric changed from probe/nike_wide/log_odds to test/all/loss"),
        ({"seeds": [4, 5]}, "seeds 4 and 5 added"),
    ],
)
def test_changes_after_the_first_run_are_post_hoc(
    planted_store: Any, build: Build, changes: dict[str, Any], text: str
) -> None:
    name = build()
    for seed in changes.get("seeds", ()):
        add_seed(planted_store, name, seed)
    declare_again(planted_store, name, **changes)
    comparison = compare(planted_store, name)
    assert comparison.verdict.sentence.startswith(f"Post hoc ({text}")
    assert comparison.headline == f"{name}: {comparison.verdict.sentence}"
    assert not comparison.verdict.green
    assert comparison.findings[0].post_hoc
    assert any(note.startswith("Post hoc: the declaration changed") for note in comparison.notes)


def test_a_margin_and_a_guard_that_are_set_later_are_not_used(planted_store: Any, build: Build) -> None:
    name = build(declared={"cost_margin": None})
    declare_again(planted_store, name, cost_margin=9.0, guard_metric="test/all/top5")
    comparison = compare(planted_store, name)
    assert (comparison.endpoints.cost.metric, comparison.endpoints.cost.margin) == ("test/all/loss", None)
    notes = " ".join(comparison.notes)
    assert "the cost margin 9.0 was set after the first run. It is not used" in notes
    assert (
        "the guard metric test/all/top5 was set after the first run. The first value, test/all/loss, is used" in notes
    )


def test_declared_looks_spend_the_level_and_allow_more_seeds(planted_store: Any, build: Build) -> None:
    name = build(declared={"looks": [5, 7]}, seeds=(1, 2, 3, 4, 5))
    first = compare(planted_store, name)
    assert first.confidence == pytest.approx(InterimLooks((5, 7)).get_confidence(5))
    assert "Interim look 1 of 2, after 5 seeds per arm: the significance level is 0.0357." in first.notes
    assert first.verdict.post_hoc == ()
    for seed in (6, 7):
        add_seed(planted_store, name, seed)
        declare_again(planted_store, name, seeds=list(range(1, seed + 1)))
        comparison = compare(planted_store, name)
        expected = ("no interim look was declared after 6 seeds",) if seed == 6 else ()
        assert comparison.verdict.post_hoc == expected
        assert not comparison.findings[0].post_hoc
    assert comparison.confidence == pytest.approx(1 - 0.05 * 2 / 7)
    assert all(finding.earlier_look is None for finding in comparison.findings)


def test_a_later_look_keeps_what_an_earlier_look_has_shown(planted_store: Any, build: Build) -> None:
    study = collect_study(planted_store.uri, build(declared={"looks": [5, 7]}, seeds=(1, 2, 3, 4, 5, 6, 7)))
    is_late = study.prompts["seed"].gt(5) & study.prompts["arm"].eq("nike_positive")
    reversed_scores = study.prompts.assign(log_odds=study.prompts["log_odds"] - 5 * is_late)
    comparison = analyze(dataclasses.replace(study, prompts=reversed_scores))
    target, finding = comparison.endpoints.target, comparison.findings[0]
    assert target.interval[0] < 0 < target.interval[1]
    assert (target.verdict, finding.outcome) == ("better", "better")
    assert target.earlier_look == finding.earlier_look
    assert target.earlier_look is not None
    assert (target.earlier_look.seeds, target.earlier_look.outcome) == (5, "better")
    assert target.earlier_look.p <= target.earlier_look.level == pytest.approx(0.05 * 5 / 7)
    assert comparison.endpoints.cost.earlier_look is None
    verdict = comparison.verdict
    assert verdict.green
    assert verdict.p <= 0.05
    assert verdict.sentence.startswith("Better on nike_wide (at the interim look after 5 seeds); specific to Nike; ")
    assert "'better' is the result of the interim look after 5 seeds" in verdict.sentences[0]
    assert any("This comparison alone is not significant" in note for note in comparison.notes)
    assert comparison.as_dict()["endpoints"]["target"]["earlier_look"]["seeds"] == 5


def test_a_later_look_keeps_the_result_for_the_cost(planted_store: Any, build: Build) -> None:
    study = collect_study(planted_store.uri, build(declared={"looks": [5, 7]}, seeds=(1, 2, 3, 4, 5, 6, 7)))
    is_late = study.rows["seed"].gt(5) & study.rows["arm"].eq("nike_positive")
    costly = study.rows.assign(loss_sum=study.rows["loss_sum"] + 3 * is_late * study.rows["masked"])
    cost = analyze(dataclasses.replace(study, rows=costly)).endpoints.cost
    assert cost.estimate > 0.5
    assert (cost.verdict, cost.earlier_look and cost.earlier_look.seeds) == ("within margin", 5)


def test_an_earlier_look_has_the_seeds_that_finished_first(planted_store: Any, build: Build) -> None:
    study = collect_study(planted_store.uri, build(declared={"looks": [5, 7]}, seeds=(1, 2, 3, 4, 5, 6, 7)))
    late = [dataclasses.replace(c, seconds=1e6 if (c.arm, c.seed) == ("full", 2) else c.seconds) for c in study.cells]
    (look,) = find_look(dataclasses.replace(study, cells=tuple(late)), 0.95).earlier
    assert {cell.seed for cell in look.study.cells} == {1, 3, 4, 5, 6}
    assert set(look.study.prompts["seed"]) == {1, 3, 4, 5, 6}


def test_a_study_of_version_0_1_is_marked_and_never_green(planted_store: Any) -> None:
    name = planted_store.build(f"endpoints-{next(NUMBERS)}", secondary=(), seeds=(1, 2, 3))
    comparison = compare(planted_store, name)
    assert comparison.verdict.sentence.startswith("Better on nike_wide (items assumed independent); ")
    assert comparison.verdict.sentence.endswith("; cost untested.")
    assert not comparison.verdict.green


def test_a_probe_without_a_validation_half_is_named(planted_store: Any, build: Build) -> None:
    study = collect_study(planted_store.uri, build())
    caution = "nike_wide has too few templates for a separate validation half"
    assert not any(caution in note for note in analyze(study).notes)
    shared_prompts = study.prompts.assign(split="both")
    assert any(caution in note for note in analyze(dataclasses.replace(study, prompts=shared_prompts)).notes)
