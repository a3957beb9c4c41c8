"""Contrasts of arms that differ in more than the filter and the seed are refused, and each difference is named."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.comparison import Comparison, analyze, collect_study
from winnow.tracking import keys

ARMS = {"full": 0.0, "nike_positive": 0.9}


def compare_arms(planted_store: Any, name: str, **fields: Any) -> Comparison:
    return analyze(collect_study(planted_store.uri, planted_store.build(name, ARMS, seeds=(1, 2, 3), **fields)))


@pytest.mark.parametrize(
    ("name", "settings", "texts"),
    [
        ("other-rate", {"optimizer": {"lr": 0.003}}, ["optimizer.lr (nike_positive: 0.003; full: 0.001)"]),
        (
            "other-size",
            {"model": {"layers": 1}, "training": {"batch_size": 8}},
            ["model.layers (nike_positive: 1; full: 2)", "training.batch_size (nike_positive: 8; full: 64)"],
        ),
        ("other-steps", {"training": {"max_steps": 10}}, ["training.max_steps (nike_positive: 10; full: 300)"]),
        (
            "other-rule",
            {"training": {"total_tokens": 5}},
            ["training.total_tokens (nike_positive: 5; full: not set)", "training.max_steps (nike_positive: not set"],
        ),
    ],
)
def test_different_settings_are_named_and_refused(
    planted_store: Any, name: str, settings: dict[str, Any], texts: list[str]
) -> None:
    comparison = compare_arms(planted_store, name, settings={"nike_positive": settings})
    assert comparison.verdict.word == "not comparable"
    assert all(text in comparison.verdict.reason for text in texts), comparison.verdict.reason
    assert not [finding for finding in comparison.findings if finding.family in ("primary", "secondary")]


def test_settings_that_do_not_affect_results_may_differ(planted_store: Any) -> None:
    settings = {"training": {"total_tokens": 5, "max_steps": 10}}
    both = {"full": {"training": {"total_tokens": 5}}, "nike_positive": settings}
    assert compare_arms(planted_store, "same-tokens", settings=both).verdict.word == "better"


@pytest.mark.parametrize(
    ("tag", "group", "text"),
    [
        (keys.CORPUS, "dataset", "dataset.name (nike_positive: other; full: synthetic)"),
        (keys.PROBES, "probe", "probe.nike_wide (nike_positive: other; full: not set)"),
    ],
)
def test_another_corpus_or_probe_is_refused_and_named(planted_store: Any, tag: str, group: str, text: str) -> None:
    values = {"name": "other"} if group == "dataset" else {"nike_wide": "other"}
    comparison = compare_arms(
        planted_store,
        f"other-{group}",
        tags={"nike_positive": {tag: "other"}},
        settings={"nike_positive": {group: values}},
    )
    assert text in comparison.verdict.reason
    content = compare_arms(planted_store, f"other-{group}-content", tags={"nike_positive": {tag: "beef"}})
    assert f"{group} (content) (nike_positive: beef; full: " in content.verdict.reason


def test_another_tokenizer_is_refused_for_probes(planted_store: Any) -> None:
    comparison = compare_arms(planted_store, "other-tokenizer", tags={"nike_positive": {keys.TOKENIZER: "other"}})
    assert "the tokenizer must be recorded and equal" in comparison.verdict.reason


def test_single_arm_sweeps_under_one_name_are_compared_by_their_settings(planted_store: Any) -> None:
    planted_store.build("alone", {"full": 0.0}, seeds=(1, 2, 3), declared=False)
    planted_store.build(
        "joined", {"nike_positive": 0.9}, seeds=(1, 2, 3), settings={"nike_positive": {"optimizer": {"lr": 3e-3}}}
    )
    comparison = analyze(collect_study(planted_store.uri, "alone", "joined"))
    assert comparison.verdict.word == "not comparable"
    assert "optimizer.lr (nike_positive: 0.003; full: 0.001)" in comparison.verdict.reason


def test_runs_of_one_arm_with_different_settings_are_refused(planted_store: Any) -> None:
    """Runs that are not part of a sweep have no declaration, so one arm can have several recipes."""
    name = planted_store.build("mixed", ARMS, seeds=(1, 2, 3), declared=False)
    planted_store._studies[name][1].settings["full"] = {"optimizer": {"lr": 0.003}}
    planted_store.add_cell(name, "full", 4, recipe_id="changed")
    comparison = analyze(collect_study(planted_store.uri, name))
    assert "optimizer.lr (nike_positive: 0.001; full: 0.001 and 0.003)" in comparison.verdict.reason


def test_arms_without_recorded_settings_are_refused(planted_store: Any) -> None:
    comparison = compare_arms(planted_store, "no-config", missing_artifacts=(keys.RESOLVED_CONFIG,))
    assert comparison.verdict.word == "not comparable"
    assert (
        "the settings of nike_positive and full (config/resolved.yaml) were not recorded" in comparison.verdict.reason
    )
