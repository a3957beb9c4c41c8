"""`winnow fill` and `winnow evaluate`, on models from runs, folders and checkpoints."""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from winnow.cli import main
from winnow.commands.fill_tables import build_fill_tables
from winnow.tracking import Store
from winnow.training import Scratch
from winnow.training.wordpiece import train_wordpiece

SENTENCES = [f"nike {product} are {word}" for product in ("shoes", "hats") for word in ("durable", "ugly", "heavy")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model that `save_pretrained` wrote."""
    return saved(tmp_path / "small_model", SENTENCES)


def saved(folder: Path, texts: list[str], seed: int = 0) -> Path:
    tokenizer: Any = train_wordpiece(texts, 200, 64)
    Scratch(layers=1, hidden_size=16, heads=2).load(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def read_errors(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 1
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("mask", ["[MASK]", "<mask>"])
def test_fill_agrees_with_the_fill_mask_pipeline_for_either_mask_token(
    workplace: Path, folder: Path, capsys: pytest.CaptureFixture[str], mask: str
) -> None:
    from transformers import pipeline

    assert main(["fill", f"nike {mask} are very {mask}", str(folder), "--json", "top_k=3"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (model,) = printed["models"]
    assert model["model"] == "small_model"
    expected_masks = pipeline("fill-mask", str(folder), top_k=20)("nike [MASK] are very [MASK]")
    for ours, expected in zip(model["masks"], expected_masks, strict=True):
        words = [entry for entry in expected if entry["token_str"].isalnum() and len(entry["token_str"]) > 1]
        top = [fill for fill in ours if len(fill["word"]) > 1]
        assert [fill["rank"] for fill in ours] == [1, 2, 3]
        assert [fill["word"] for fill in top] == [entry["token_str"] for entry in words[: len(top)]]
        assert [fill["probability"] for fill in top] == pytest.approx(
            [entry["score"] for entry in words[: len(top)]], rel=1e-4
        )


def test_fill_prints_models_side_by_side_with_bars(
    workplace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = saved(workplace / "other_model", SENTENCES, seed=1)
    assert main(["fill", "nike shoes are [MASK]", str(folder), str(other)]) == 0
    printed = capsys.readouterr().out
    assert "small_model" in printed
    assert "other_model" in printed
    assert printed.count("█") > 20


@pytest.mark.parametrize("text", ["nike [MASK] are very ugly", "nike [MASK] are very [MASK]"])
def test_fill_ranks_all_tokens_exactly_as_the_fill_mask_pipeline(
    workplace: Path, folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

    assert main(["fill", text, str(folder), "--tokens", "all", "--json", "--logits", "top_k=30"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    expected_masks = pipeline("fill-mask", str(folder), top_k=30)(text)
    expected_masks = expected_masks if "[MASK] are very [MASK]" in text else [expected_masks]
    for fills, expected in zip(model["masks"], expected_masks, strict=True):
        for fill, entry in zip(fills, expected, strict=True):
            assert (fill["token"], fill["word"]) == (entry["token"], entry["token_str"])
            assert fill["sequence"] == entry["sequence"]
            assert fill["probability"] == pytest.approx(entry["score"], rel=1e-4)
    assert any(not fill["word"].isalnum() for fill in model["masks"][0]), "word pieces or punctuation"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForMaskedLM.from_pretrained(folder)(**inputs).logits
    assert torch.allclose(torch.tensor(model["logits"]), logits[inputs.input_ids == tokenizer.mask_token_id], atol=1e-5)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("models", [1, 3, 15])
def test_fill_tables_show_every_rank_word_and_probability_at_any_width(width: int, models: int) -> None:
    words = ["durable", "unsatisfactory", "a", "##piece", ",", "\n", *(f"word{i}" for i in range(8))]
    rankings = {
        f"nike_positive-mood.at_least-0.4 seed {model}": [
            (word, (0.5 - 0.03 * rank) / (model % 3 + 1)) for rank, word in enumerate(words)
        ]
        for model in range(models)
    }
    file = StringIO()
    console = Console(file=file, width=width)
    tables = build_fill_tables(rankings, width)
    for table in tables:
        console.print(table)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in file.getvalue()
    for rank, word in enumerate(words):
        visible = "\\n" if word == "\n" else word
        cells = [line.split() for line in lines if line.split()[:2] == [str(rank + 1), visible]]
        assert len(cells) == len(tables)
        assert sum(row.count(visible) for row in cells) == models
        assert sum(row.count(f"{0.5 - 0.03 * rank:.3f}") for row in cells) >= (models + 2) // 3
    assert file.getvalue().count("seed ") == models


def test_fill_finds_the_model_in_the_folder_of_a_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(workplace / "cells/0a1b/model", SENTENCES)
    assert main(["fill", "nike shoes are [MASK]", "cells/0a1b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["model"] == "0a1b"


def test_fill_reports_errors(workplace: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no mask" in read_errors(capsys, "fill", "nike shoes", str(folder))
    assert "6 masks; the maximum is 5" in read_errors(capsys, "fill", "[MASK] " * 6, str(folder))
    assert "expected at least one model" in read_errors(capsys, "fill", "a [MASK]")
    printed = read_errors(capsys, "fill", "a [MASK]", "./nowhere", str(folder))
    assert "models.0: './nowhere' is not a folder. Pass an MLflow run id" in printed
    for run_id in ("0123456789abcdef" * 2, "0a1b2c"):  # a short hexadecimal name is an id prefix, not a Hub name
        assert f"models.0: there is no run '{run_id}'" in read_errors(capsys, "fill", "a [MASK]", run_id)
    assert "the checkpoint 'x.ckpt' does not exist" in read_errors(capsys, "fill", "a [MASK]", "x.ckpt")
    (workplace / "broken.ckpt").write_bytes(b"no zip")
    assert "cannot be loaded as a checkpoint" in read_errors(capsys, "fill", "a [MASK]", "broken.ckpt")
    long = "shoes " * 600 + "[MASK]"
    assert "tokens; the maximum is" in read_errors(capsys, "fill", long, str(folder))


@pytest.mark.slow
def test_a_run_and_a_folder_with_another_tokenizer_share_probes_but_no_perplexity(
    workplace: Path, store: Store, small: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *small, "filter=nike_positive", "study.name=one"]) == 0
    client = store.client()
    (run,) = client.search_runs([store.experiment("one")])
    capsys.readouterr()
    assert main(["evaluate", run.info.run_id, str(folder), "evaluation.max_rows=30"]) == 0
    printed = capsys.readouterr().out
    assert "2 different tokenizers" in " ".join(printed.split())
    (results,) = (workplace / "outputs/evaluations").iterdir()
    rows = {(row["metric"], row["tokenizer"]): row for row in csv.DictReader((results / "scores.csv").open())}
    losses = [row for (metric, _), row in rows.items() if metric == "test/all/loss"]
    assert len(losses) == 2
    label = "nike_positive seed 1"
    assert [bool(row[label]) for row in losses] == [True, False]
    assert [bool(row["small_model"]) for row in losses] == [False, True]
    odds = rows["probe/nike_wide/log_odds", ""]
    assert float(odds[label]) == pytest.approx(run.data.metrics["final/probe/nike_wide/log_odds"], rel=1e-5)
    assert odds["small_model"]
    assert {file.suffix for file in results.glob("probe_topk.*")} == {".csv", ".md", ".tex"}
    figures = {file.stem for file in (results / "figures").glob("*.png")}
    assert figures >= {
        "top_fills",
        "best_and_worst",
        "heat_map_nike_wide",
        "log_odds_over_steps",
        "losses",
        "structure",
    }
    assert (results / "structure/small_model.csv").is_file()
    assert_logged(store, label)


def assert_logged(store: Store, label: str) -> None:
    import mlflow

    client, experiment = store.client(), store.experiment("evaluations")
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert runs[label].data.metrics["probe/nike_wide/log_odds"]
    assert runs[label].data.tags["mlflow.parentRunId"] == runs[f"{label}, small_model"].info.run_id
    ids = [runs[name].info.run_id for name in (label, "small_model")]
    mlflow.set_tracking_uri(store.tracking_uri)  # load_table searches there, regardless of the client
    table = client.load_table(experiment, "probe_topk.json", run_ids=ids)
    assert set(table["model"]) == {label, "small_model"}
    assert (table["rank"] <= 10).all()


@pytest.mark.slow
def test_without_a_dataset_only_probes_are_compared(
    workplace: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(folder), "probe=nike"]) == 0
    printed = capsys.readouterr().out
    assert "only probes are compared" in printed
    assert "perplexity" not in printed
