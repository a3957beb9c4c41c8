"""Compare the registry with the metrics that the code computes and that a real run logs."""

from pathlib import Path

import pytest

from winnow.cli import main
from winnow.comparison.word_overlap import UNLISTED_SCORE
from winnow.evaluation import torch_metrics
from winnow.evaluation.probes.prompt_score_formulas import COMMON_SCORES, PROMPT_SCORES, SUMMARY_SCORES
from winnow.metrics import Metric, MetricDefinition, MetricRegistry
from winnow.metrics.metric_catalog import HELD_OUT_SCORES, PROBE_SCORES, score_template
from winnow.metrics.metric_names import strip_stage
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics


@pytest.mark.slow
def test_every_metric_that_a_run_logs_is_defined(workplace: Path, store: Store, small: list[str]) -> None:
    # The run is long enough for the store's thread to log the system load; its options make it incomparable.
    options = ["training.keep=best", "study.compare=false"]
    assert main(["train", "filter=nike_positive", *options, *small]) == 0
    (run,) = store.client().search_runs([store.experiment("scratchpad")], f"tags.`{keys.KIND}` = 'cell'")
    logged = {strip_stage(name) for name in read_run_metrics(store.client(), run)}
    assert {"test/all/ece", "test/all/pseudo_perplexity", "probe/nike/forbidden_mrr", "seconds"} <= logged
    assert {"train/tokens_per_second", "filter/nike/pass", "step", "data/leakage/test/near"} <= logged
    assert [name for name in sorted(logged) if not Metric(name).is_known] == []
    for metric in map(Metric, logged):
        assert metric.unit
        assert metric.label
        assert metric.direction in ("higher", "lower", None)
        assert "{n}" not in metric.label


def test_the_catalog_defines_exactly_the_scores_that_are_computed() -> None:
    computed_scores = (*PROMPT_SCORES, *SUMMARY_SCORES, *COMMON_SCORES, UNLISTED_SCORE)
    assert {score_template(score) for score in computed_scores} == set(PROBE_SCORES)


@pytest.mark.parametrize(
    ("score", "metric_class"),
    [
        ("loss", torch_metrics.MaskedLoss),
        ("perplexity", torch_metrics.Perplexity),
        ("top{n}", torch_metrics.TopK),
        ("mrr", torch_metrics.MeanReciprocalRank),
        ("ece", torch_metrics.CalibrationError),
        ("pseudo_perplexity", torch_metrics.PseudoPerplexity),
    ],
)
def test_directions_match_the_metric_classes(score: str, metric_class: type) -> None:
    assert (HELD_OUT_SCORES[score].direction == "higher") is metric_class.higher_is_better


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("test/all/ece", "expected calibration error on test"),
        ("test/nike_positive/kept/loss", "loss on test/nike_positive/kept"),
        ("probe/nike/forbidden_hit_at_10", "forbidden hit at 10 on nike"),
        ("probe/nike/log_odds_of_2_tokens", "log odds of 2-token words on nike"),
        ("seconds", "training time"),
        ("probe/nike/banana", "probe/nike/banana"),
    ],
)
def test_a_label_contains_the_metric_and_its_probe_or_slice(name: str, label: str) -> None:
    assert Metric(name).label == label


def test_an_unknown_metric_has_no_direction() -> None:
    for name in ("banana", "probe/nike/loss", "test/all/log_odds", "test/all/my_loss"):
        assert not Metric(name).is_known
        assert Metric(name).direction is None


def test_a_user_metric_can_be_restored_from_json() -> None:
    definition = MetricDefinition(
        "lower", "letters", "word length", "prompts", ("probes", "tokenizer", "corpus", "budget")
    )
    stored = MetricRegistry({"probe/nike/word_length": definition}).to_json()
    metric = MetricRegistry.from_json([stored]).metric("probe/nike/word_length")
    assert metric.definition == definition
    assert metric.label == "word length on nike"
