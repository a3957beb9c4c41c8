"""User-defined metrics, by entry point and by `_target_`, from the configuration to the verdict."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.errors import WinnowError
from winnow.evaluation import Probe, PromptMetric, PromptPrediction
from winnow.tracking import Store, keys
from winnow.tracking.run_queries import read_run_metrics

MODULE = """
from winnow.evaluation import PromptMetric


def letters(prediction, *, rank=1):
    return None if "Trousers" in prediction.prompt else len(prediction.words[rank - 1])


word_length = PromptMetric(letters, "word_length", "lower", "letters", "length of the first word")
not_a_metric = letters
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed user package with entry points."""
    site = tmp_path / "site"
    info = site / "my_metrics-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "my_metrics.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-metrics\nVersion: 1.0\n")
    points = ("word_length = my_metrics:word_length", "no_metric = my_metrics:not_a_metric", "gone = my_metrics:gone")
    (info / "entry_points.txt").write_text("\n".join(["[winnow.metrics]", *points, ""]))
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    yield "my_metrics"
    importlib.import_module("sys").modules.pop("my_metrics", None)


BY_NAME = ["probe.nike.metrics=[word_length]"]
BY_TARGET = [
    "allow_targets=[my_metrics]",
    "probe.nike.metrics=[{_target_: winnow.evaluation.PromptMetric, name: word_length, direction: lower, "
    "unit: letters, label: length of the first word, "
    "function: {_target_: my_metrics.letters, _partial_: true, rank: 1}}]",
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [BY_NAME, BY_TARGET], ids=["entry point", "target"])
def test_a_user_metric_is_logged_stored_and_compared(
    workplace: Path, store: Store, small: list[str], package: str, arguments: list[str]
) -> None:
    metric = "probe/nike/word_length"
    study = ["filter=full,nike_positive", "seed=1,2", "study.name=mine", f"study.secondary_metrics=[{metric}]"]
    assert main(["train", "-m", *study, *arguments, *small]) == 0
    client = store.client()
    cells = client.search_runs([store.experiment("mine")], f"tags.`{keys.KIND}` = 'cell'")
    assert len(cells) == 4
    for cell in cells:
        path = client.download_artifacts(cell.info.run_id, keys.PROMPT_RESULTS, str(workplace))
        table = pq.read_table(path).to_pandas()
        scores = table[(table["probe"] == "nike") & (table["stage"] == "after")].set_index("prompt")["word_length"]
        assert scores.isna().sum() == 1, "a prompt scored as None is skipped"
        assert cell.data.metrics[f"final/{metric}"] == scores.mean()
        assert f"before/{metric}" in read_run_metrics(client, cell)
        assert len(client.get_metric_history(cell.info.run_id, metric)) > 1, "one value per step"

    comparison = json.loads((workplace / "outputs/mine/comparison/comparison.json").read_text())
    info = {"label": "length of the first word on nike", "unit": "letters", "direction": "lower"}
    assert comparison["metric_info"][metric] == info
    (contrast,) = [row for row in comparison["contrasts"] if row["metric"] == metric]
    assert contrast["items"] == 5, "the items are prompts"


def test_the_direction_of_a_stored_metric_decides_the_verdict() -> None:
    from winnow.comparison.findings import decide_outcome
    from winnow.metrics import MetricRegistry

    metric = PromptMetric(lambda prediction: 1.0, "word_length", "lower", "letters", "length")
    stored = MetricRegistry({"probe/nike/word_length": metric.definition}).to_json()
    restored = MetricRegistry.from_json([stored]).metric("probe/nike/word_length")
    assert decide_outcome(restored, 0.5, 0.01, 0.05) == "worse"
    assert decide_outcome(restored, -0.5, 0.01, 0.05) == "better"


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["word_lenght"], "Did you mean 'word_length'? Available:"),
        (["word_length", "word_length"], "is already used by another metric"),
    ],
)
def test_an_invalid_metric_of_a_probe_is_an_error(package: str, metrics: list[str], message: str) -> None:
    with pytest.raises(WinnowError) as caught:
        Probe(prompts=["hats are [MASK]"], metrics=metrics)
    assert message in str(caught.value)
    assert "metrics." in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "message"),
    [("no_metric", "must be a winnow.evaluation.PromptMetric with that name"), ("gone", "AttributeError")],
)
def test_an_installed_metric_is_loaded_only_by_the_check(package: str, metric: str, message: str) -> None:
    (error,) = Probe(prompts=["hats are [MASK]"], metrics=[metric]).check()
    assert message in error.message
    assert error.key == "metrics.0"


@pytest.mark.parametrize("name", ["log_odds", "positive_at_3", "prompt_id"])
def test_the_name_of_a_built_in_score_is_an_error(name: str) -> None:
    with pytest.raises(WinnowError, match="built-in"):
        PromptMetric(len, name, "higher", "words", "a label")


def build_prediction() -> PromptPrediction:
    return PromptPrediction("hats are [MASK]", 1, (), (), (), ("blue",), (0.5,), {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many"])
def test_a_function_must_return_a_finite_number(value: Any) -> None:
    metric = PromptMetric(lambda prediction: value, "own", "higher", "words", "a label")
    with pytest.raises(WinnowError, match=r"metrics\.own"):
        metric.score(build_prediction())


def test_user_metrics_change_the_fingerprint_of_a_probe(package: str) -> None:
    without, with_metric = (Probe(prompts=["hats are [MASK]"], metrics=metrics) for metrics in ([], ["word_length"]))
    assert without.fingerprint() != with_metric.fingerprint()
    assert with_metric.score_names()[-1] == "word_length"
