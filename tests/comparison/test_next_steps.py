"""Suggested commands: next steps, and repairs of contrasts that cannot be computed."""

from __future__ import annotations

from typing import Any

from winnow.comparison import analyze, collect_study
from winnow.comparison.next_steps import suggest_next_steps, suggest_repairs


def test_next_steps_name_the_study_and_its_runs(planted_store: Any, planted: str) -> None:
    study = collect_study(planted_store.uri, planted)
    commands = [step.command for step in suggest_next_steps(study, "Nike shoes are [MASK]")]
    full, filtered = (study.get_cells(arm)[0].run_id for arm in ("full", "nike_positive"))
    assert commands == [
        "winnow train -m study.name=planted filter=full,nike_positive,random_matched seed=1,2,3,4,5,6,7,8,9,10",
        f"winnow fill 'Nike shoes are [MASK]' {full} {filtered}",
        f"winnow evaluate {full} {filtered}",
        f"winnow rerun {filtered}",
        "winnow export planted",
    ]


def test_a_missing_seed_is_repaired_by_the_same_sweep_with_more_seeds(planted_store: Any) -> None:
    study = collect_study(planted_store.uri, planted_store.build("one_seed", seeds=(1,)))
    refused = analyze(study).not_comparable
    assert set(suggest_repairs(study, refused).values()) == {
        "winnow train -m study.name=one_seed filter=full,nike_positive,random_matched seed=1,2,3,4,5"
    }


def test_different_settings_are_repaired_by_a_new_study(planted_store: Any) -> None:
    name = planted_store.build("rates", seeds=(1, 2), settings={"nike_positive": {"optimizer": {"lr": 3e-3}}})
    study = collect_study(planted_store.uri, name)
    refused = analyze(study).not_comparable
    assert set(suggest_repairs(study, refused).values()) == {
        "winnow train -m study.name=rates_same_settings filter=full,nike_positive,random_matched seed=1,2,3,4,5"
    }


def test_limitations_state_what_the_runs_recorded(planted_store: Any, planted: str) -> None:
    text = analyze(collect_study(planted_store.uri, planted)).limitations
    assert "each training row was seen 28.3 times by nike_positive and 10.2 times by full" in text
    assert "All runs use one tokenizer" in text
    assert "synthetic" not in text
    name = planted_store.build(
        "grammar",
        seeds=(1, 2),
        templates=True,
        settings={
            arm: {"dataset": {"source": {"_target_": "winnow.data.Grammar"}}}
            for arm in ("full", "nike_positive", "random_matched")
        },
    )
    text = analyze(collect_study(planted_store.uri, name)).limitations
    assert text.startswith("The corpus is synthetic")
    assert "8 levels of template and 5 levels of product" in text
