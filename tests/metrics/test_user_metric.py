"""Metrics of the user's own: by entry point and by `_target_`, from the configuration to the verdict."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from winnow.cli import main
from winnow.errors import WinnowError
from winnow.evaluation import Probe, PromptAnswer, PromptMetric
from winnow.tracking import Store, keys

MODULE = """
from winnow.evaluation import PromptMetric


def letters(answer, *, rank=1):
    return None if "Trousers" in answer.prompt else len(answer.words[rank - 1])


word_length = PromptMetric(letters, "word_length", "lower", "letters", "length of the first word")
not_a_metric = letters
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package of the user's own, with entry points."""
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
def test_a_metric_of_the_user_is_logged_stored_and_compared(
    workplace: Path, store: Store, small: list[str], package: str, arguments: list[str]
) -> None:
    metric = "probe/nike/word_length"
    study = ["filter=full,nike_positive", "seed=1,2", "study.name=mine", f"study.secondary_metrics=[{metric}]"]
    assert main(["train", "-m", *study, *arguments, *small]) == 0
    client = store.client()
    cells = client.search_runs([store.experiment("mine")], f"tags.`{keys.KIND}` = 'cell'")
    assert len(cells) == 4
    for cell in cells:
        path = client.download_artifacts(cell.info.run_id, keys.PROMPTS, str(workplace))
        table = pq.read_table(path).to_pandas()
        own = table[(table["probe"] == "nike") & (table["stage"] == "after")].set_index("prompt")["word_length"]
        assert own.isna().sum() == 1, "None leaves a prompt out"
        assert cell.data.metrics[f"final/{metric}"] == own.mean()
        assert f"before/{metric}" in cell.data.metrics
        assert len(client.get_metric_history(cell.info.run_id, metric)) > 1, "by step"

    comparison = json.loads((workplace / "outputs/mine/comparison/comparison.json").read_text())
    told = {"label": "length of the first word on nike", "unit": "letters", "direction": "lower"}
    assert comparison["metric_info"][metric] == told
    (contrast,) = [one for one in comparison["contrasts"] if one["metric"] == metric]
    assert contrast["items"] == 4, "it rests on prompts"


def test_the_direction_of_a_stored_metric_decides_the_verdict() -> None:
    from winnow.comparison.verdict import decide_outcome
    from winnow.metrics import MetricRegistry

    metric = PromptMetric(lambda answer: 1.0, "word_length", "lower", "letters", "length")
    kept = MetricRegistry({"probe/nike/word_length": metric.definition}).to_json()
    found = MetricRegistry.from_json([kept]).metric("probe/nike/word_length")
    assert decide_outcome(found, 0.5, 0.01, 0.05) == "worse"
    assert decide_outcome(found, -0.5, 0.01, 0.05) == "better"


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (["word_lenght"], "Did you mean 'word_length'? Installed:"),
        (["no_metric"], "must be a winnow.evaluation.PromptMetric of that name"),
        (["gone"], "cannot be loaded: AttributeError"),
        (["word_length", "word_length"], "is taken by another metric"),
    ],
)
def test_a_wrong_metric_of_a_probe_is_refused(package: str, metrics: list[str], told: str) -> None:
    with pytest.raises(WinnowError) as caught:
        Probe(prompts=["hats are [MASK]"], metrics=metrics)
    assert told in str(caught.value)
    assert "metrics." in str(caught.value)


@pytest.mark.parametrize("name", ["log_odds", "positive_at_3", "prompt_id"])
def test_a_built_in_name_is_refused(name: str) -> None:
    with pytest.raises(WinnowError, match="built-in"):
        PromptMetric(len, name, "higher", "words", "a label")


def answer() -> PromptAnswer:
    return PromptAnswer("hats are [MASK]", 1, (), (), (), ("blue",), (0.5,), {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many"])
def test_a_function_must_return_a_finite_number(value: Any) -> None:
    metric = PromptMetric(lambda answer: value, "own", "higher", "words", "a label")
    with pytest.raises(WinnowError, match=r"metrics\.own"):
        metric.score(answer())


def test_metrics_of_the_user_change_the_fingerprint_of_a_probe(package: str) -> None:
    plain, own = (Probe(prompts=["hats are [MASK]"], metrics=metrics) for metrics in ([], ["word_length"]))
    assert plain.fingerprint() != own.fingerprint()
    assert own.scores()[-1] == "word_length"
