"""The registry against what the code computes and what a real run logs."""

from pathlib import Path

import pytest

from winnow.cli import main
from winnow.evaluation import torch_metrics
from winnow.evaluation.probes.prompt_metrics import ALWAYS_SCORES, PROMPT_SCORES, SUMMARY_SCORES
from winnow.metrics import Definition, Metric, MetricRegistry
from winnow.metrics.metric_catalog import HELD_OUT_SCORES, PROBE_SCORES, stem
from winnow.metrics.metric_names import without_stage
from winnow.tracking import Store, keys


@pytest.mark.slow
def test_the_registry_knows_every_metric_that_a_run_logs(workplace: Path, store: Store, small: list[str]) -> None:
    # Long enough for the store's thread to log the load of the machine, in a run that may not be compared.
    options = ["training.keep=best", "study.compare=false"]
    assert main(["train", "filter=nike_positive", *options, *small]) == 0
    (run,) = store.client().search_runs([store.experiment("scratchpad")], f"tags.`{keys.KIND}` = 'cell'")
    logged = {without_stage(name) for name in run.data.metrics}
    assert {"test/all/ece", "test/all/pseudo_perplexity", "probe/nike/forbidden_mrr", "seconds"} <= logged
    assert {"train/tokens_per_second", "filter/nike/pass", "step", "data/leakage/test/near"} <= logged
    assert [name for name in sorted(logged) if not Metric(name).is_known] == []
    for metric in map(Metric, logged):
        assert metric.unit
        assert metric.label
        assert metric.direction in ("higher", "lower", None)
        assert "{n}" not in metric.label


def test_the_catalog_holds_the_scores_that_are_computed_and_no_others() -> None:
    assert {stem(score) for score in (*PROMPT_SCORES, *SUMMARY_SCORES, *ALWAYS_SCORES)} == set(PROBE_SCORES)


@pytest.mark.parametrize(
    ("score", "computed_by"),
    [
        ("loss", torch_metrics.MaskedLoss),
        ("perplexity", torch_metrics.Perplexity),
        ("top{n}", torch_metrics.TopK),
        ("mrr", torch_metrics.MeanReciprocalRank),
        ("ece", torch_metrics.CalibrationError),
        ("pseudo_perplexity", torch_metrics.PseudoPerplexity),
    ],
)
def test_directions_agree_with_the_classes_that_compute(score: str, computed_by: type) -> None:
    assert (HELD_OUT_SCORES[score].direction == "higher") is computed_by.higher_is_better


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("test/all/ece", "expected calibration error on test"),
        ("test/nike_positive/kept/loss", "loss on test/nike_positive/kept"),
        ("probe/nike/forbidden_hit_at_10", "forbidden hit at 10 on nike"),
        ("probe/nike/log_odds_of_2_tokens", "log odds of words of 2 tokens on nike"),
        ("seconds", "training time"),
        ("probe/nike/banana", "probe/nike/banana"),
    ],
)
def test_a_label_names_the_metric_and_its_probe_or_slice(name: str, label: str) -> None:
    assert Metric(name).label == label


def test_an_unknown_metric_has_no_direction() -> None:
    for name in ("banana", "probe/nike/loss", "test/all/log_odds", "test/all/my_loss"):
        assert not Metric(name).is_known
        assert Metric(name).direction is None


def test_a_metric_of_the_user_outlives_the_process_that_defined_it() -> None:
    own = Definition("lower", "letters", "word length", "prompts", ("probes", "budget"))
    kept = MetricRegistry({"probe/nike/word_length": own}).to_json()
    metric = MetricRegistry.from_json([kept]).metric("probe/nike/word_length")
    assert metric.definition == own
    assert metric.label == "word length on nike"
