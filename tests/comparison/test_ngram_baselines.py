"""The n-gram baselines of a comparison: scores, unexplained effects, and the verdict on word frequencies."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from winnow.comparison import analyze, collect_study, contrast
from winnow.comparison.ngram_baselines import (
    MAX_FILL_OVERLAP,
    UNIGRAM_REASON,
    NgramBaselines,
    PredictorScores,
    compute_fill_overlap,
    find_word_frequency_reason,
    state_word_frequencies,
)
from winnow.reporting import compare
from winnow.reporting.ngram_tables import build_ngram_console_table

LOG_ODDS = "probe/nike_wide/log_odds"


@pytest.fixture(scope="module")
def learned(planted_store: Any) -> str:
    """A study whose models beat their trigram models, which share half of the filter's effect."""
    return planted_store.build("learned", trigram_gap=0.4, counted_effect=0.5, templates=True)


def baselines(model: float, trigram: float, overlap: float = 0.2) -> NgramBaselines:
    return NgramBaselines(PredictorScores(5, 0), PredictorScores(trigram, 0), PredictorScores(model, 0), overlap)


def test_each_arm_has_the_losses_of_its_models_and_of_the_ngram_models(planted_store: Any, learned: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, learned))
    report_json = json.loads(json.dumps(comparison.as_dict(), allow_nan=False))
    assert set(report_json["ngram_baselines"]) == {"full", "nike_positive", "random_matched"}
    for arm, scores in report_json["ngram_baselines"].items():
        logged = report_json["metrics"]["test/all/loss"][arm]["mean"]
        assert scores["model"]["loss"] == pytest.approx(logged)
        assert scores["trigram"]["loss"] == pytest.approx(logged + 0.4)
        assert scores["unigram"]["loss"] == pytest.approx(logged + 1.4)
        assert scores["model"]["score"] == pytest.approx(report_json["arms"][arm]["mean"])
    assert comparison.only_word_frequencies is None
    assert comparison.verdict.word != "learned only word frequencies"


def test_the_effect_beyond_counting_is_the_contrast_of_the_differences(planted_store: Any, learned: str) -> None:
    study = collect_study(planted_store.uri, learned)
    comparison = analyze(study)
    effects = {(effect.ngram, effect.result.b): effect.result for effect in comparison.effects_beyond_counting}
    assert set(effects) == {(n, b) for n in ("trigram", "unigram") for b in ("full", "random_matched")}
    prompts = study.prompts[study.prompts["probe"] == "nike_wide"]
    scores = {
        stage: prompts[prompts["stage"] == stage].set_index(["arm", "seed", "prompt_id"])
        for stage in ("after", "trigram")
    }
    table = (scores["after"]["log_odds"] - scores["trigram"]["log_odds"]).rename("score").reset_index()
    factors = scores["after"].reset_index()
    table = table.rename(columns={"prompt_id": "item"}).assign(
        **{"factor:template": factors["template"], "factor:product": factors["product"]}
    )
    assert effects["trigram", "full"] == contrast(table, "nike_positive", "full")
    total = next(f.result for f in comparison.findings if f.family == "primary" and f.result.b == "full")
    assert effects["unigram", "full"].difference == pytest.approx(total.difference)
    assert effects["trigram", "full"].difference == pytest.approx(total.difference - 0.45)
    assert total.levels == effects["trigram", "full"].levels != {}


def test_an_effect_that_counting_explains_is_gone_beyond_counting(planted_store: Any) -> None:
    name = planted_store.build("counted", trigram_gap=0.4, counted_effect=1.0, seeds=(1, 2, 3), templates=True)
    effects = analyze(collect_study(planted_store.uri, name)).effects_beyond_counting
    trigram = next(effect.result for effect in effects if effect.ngram == "trigram" and effect.result.b == "full")
    assert trigram.ci_low < 0 < trigram.ci_high


def test_models_that_do_not_beat_the_trigrams_have_learned_only_word_frequencies(
    planted_store: Any, tmp_path: Path
) -> None:
    name = planted_store.build("frequencies", trigram_gap=-0.1, seeds=(1, 2))
    comparison = compare(planted_store.uri, name, tmp_path)
    assert comparison.only_word_frequencies is not None
    assert "no lower than that of a trigram model" in comparison.only_word_frequencies
    assert "full: 2." in comparison.only_word_frequencies
    assert comparison.verdict.word == "learned only word frequencies"
    assert (
        comparison.verdict.sentence == f"The models learned only word frequencies: {comparison.only_word_frequencies}."
    )
    assert not comparison.verdict.green
    page = (tmp_path / "report.html").read_text()
    assert page.count("The models learned only word frequencies") == 3, "in the title, the verdict and above the table"
    first = page.index("winnow train -m study.name=frequencies_longer")
    second = page.index("winnow train -m study.name=frequencies_pretrained model=distilbert filter=full,")
    assert first < second < page.index("Add seeds")
    assert page[first:].startswith("winnow train -m study.name=frequencies_longer training.max_steps=600 filter=full,")
    assert "learned only word frequencies" in (tmp_path / "report.md").read_text()
    assert {"ngram_baselines.csv", "beyond_counting.csv"} <= {file.name for file in (tmp_path / "tables").iterdir()}
    console = build_ngram_console_table(comparison)
    assert console is not None
    assert [column.header for column in console.columns][:4] == ["arm", "model", "trigram", "unigram"]
    assert "nike_positive - full, log odds on nike_wide not explained by trigram counts: " in str(console.caption)


def test_a_perplexity_has_baselines_and_ranks_have_none(planted_store: Any, learned: str) -> None:
    study = collect_study(planted_store.uri, learned)
    for metric, has_scores in (("test/all/perplexity", True), ("test/all/top1", False)):
        declaration = dataclasses.replace(study.declaration, primary_metric=metric)
        comparison = analyze(dataclasses.replace(study, declaration=declaration))
        score = comparison.ngram_baselines["full"].trigram.score
        assert math.isnan(score) != has_scores
        assert bool(comparison.effects_beyond_counting) == has_scores
        if has_scores:
            # Each run is transformed before averaging, so the mean of exp is not the exp of the mean.
            assert score == pytest.approx(np.exp(comparison.ngram_baselines["full"].trigram.loss), rel=0.01)


def test_runs_without_ngram_models_have_no_baselines(planted_store: Any, planted: str) -> None:
    comparison = analyze(collect_study(planted_store.uri, planted))
    assert comparison.ngram_baselines == {}
    assert comparison.effects_beyond_counting == []
    assert comparison.only_word_frequencies is None
    assert build_ngram_console_table(comparison) is None


def test_fills_that_do_not_differ_between_prompts_are_word_frequencies() -> None:
    arms = {"full": baselines(2.0, 2.5), "filter": baselines(2.0, 2.5, MAX_FILL_OVERLAP), "other": baselines(3.0, 2.5)}
    assert find_word_frequency_reason(arms, ["full"]) is None
    assert find_word_frequency_reason(arms, ["full", None, "missing"]) is None
    reason = find_word_frequency_reason(arms, ["full", "filter"])
    assert reason == "the top 10 words are nearly the same for every prompt (mean overlap: filter: 90%)"
    both = find_word_frequency_reason(arms, ["other", "filter"])
    assert both is not None
    assert both.startswith(
        "the test loss is no lower than that of a trigram model trained on the same rows (other: 3.00 vs."
    )
    worst = find_word_frequency_reason({**arms, "bad": baselines(5.5, 2.5)}, ["bad", "other"])
    assert worst is not None
    assert worst.startswith(
        f"{UNIGRAM_REASON} trained on the same rows (bad: 5.50 vs. 5.00); the test loss is no lower"
    )
    assert state_word_frequencies(worst) == f"The models have not learned the word frequencies of their rows: {worst}."
    equal = {"full": baselines(2.5, 2.5), "unknown": baselines(2.5, math.nan, math.nan)}
    assert find_word_frequency_reason(equal, ["full"]) is not None
    assert find_word_frequency_reason(equal, ["unknown"]) is None


def test_the_overlap_is_the_mean_over_all_pairs_of_prompts(planted_store: Any, learned: str) -> None:
    study = collect_study(planted_store.uri, learned)
    words = {
        "p1": "abcdefghijKL",
        "p2": "abcdefghijMN",
        "p3": "aopqrstuvwxy",
    }  # the last two letters are not in the top
    entries = [
        {"arm": "full", "seed": seed, "stage": "after", "probe": "nike_wide", "prompt": prompt, "word": word,
         "probability": 1 / (rank + 2)}
        for seed in (1, 2) for prompt, letters in words.items() for rank, word in enumerate(letters)
    ]  # fmt: skip
    fills = pd.DataFrame(entries).sample(frac=1, random_state=0)
    study = dataclasses.replace(study, fills=fills)
    primary = study.registry.metric(LOG_ODDS)
    assert compute_fill_overlap(study, primary, "full") == pytest.approx((1.0 + 0.1 + 0.1) / 3)
    assert math.isnan(compute_fill_overlap(study, study.registry.metric("test/all/loss"), "full"))
    single = dataclasses.replace(study, fills=fills[fills["prompt"] == "p1"])
    assert math.isnan(compute_fill_overlap(single, primary, "full"))
