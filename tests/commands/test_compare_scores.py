"""`winnow compare FILE.csv`: the protocol of a study, applied to scores from elsewhere."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from winnow.cli import main
from winnow.comparison.contrast_statistics import contrast, holm


@pytest.fixture
def scores(workplace: Path) -> pd.DataFrame:
    """Scores of three arms, written to `scores.csv`: the arm `better` scores 1 higher, and `same` does not differ."""
    rng = np.random.default_rng(0)
    items = [(f"item {i}", f"cluster {i // 4}", rng.normal()) for i in range(40)]
    rows = [
        (arm, str(seed), item, effect + difficulty + rng.normal(scale=0.2), cluster)
        for arm, effect in (("full", 0.0), ("better", 1.0), ("same", 0.0))
        for seed in range(1, 6)
        for item, cluster, difficulty in items
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "item", "score", "cluster"])
    table.to_csv("scores.csv", index=False)
    return table


def test_the_contrasts_equal_those_of_the_statistics(scores: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "scores.csv", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    table = scores.rename(columns={"cluster": "cluster:cluster"})
    expected = [contrast(table, arm, "full", blocked=True) for arm in ("better", "same")]
    assert printed["baseline"] == "full"
    for entry, result in zip(printed["contrasts"], expected, strict=True):
        for name in ("difference", "ci_low", "ci_high", "p_value", "df"):
            assert entry[name] == pytest.approx(getattr(result, name))
    assert [entry["p_holm"] for entry in printed["contrasts"]] == pytest.approx(holm([r.p_value for r in expected]))
    assert printed["contrasts"][0]["levels"] == {"cluster": 10}


def test_the_result_is_printed(
    scores: pd.DataFrame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["compare", "scores.csv"]) == 0
    printed = capsys.readouterr().out
    assert "40 items in 10 clusters" in printed
    assert "better scores" in printed
    assert "higher than full" in printed
    assert "same does not clearly differ from full" in printed
    assert "compared as pairs" in printed
    scores[scores["seed"].isin(["1", "2"])].drop(columns="cluster").to_csv("few.csv", index=False)
    assert main(["compare", "few.csv", "--baseline", "same"]) == 0
    printed = capsys.readouterr().out
    assert "better - same" in printed
    assert "fewer than 5 seeds per arm" in printed
    assert "treated as independent" in printed


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("arm,seed,score\nfull,1,2\n", [], "has no column item. Required: arm, seed, item, score"),
        ("arm,seed,item,score\n", [], "has no rows"),
        ("arm,seed,item,score\na,1,x,high\n", [], "score: expected a number in line 2, got 'high'"),
        ("arm,seed,item,score\na,1,x,1\n", [], "expected at least two arms"),
        ("arm,seed,item,score\na,1,x,1\nb,1,x,1\n", ["--baseline", "c"], "the scores have no arm 'c'. Allowed: a, b"),
        ("arm,seed,item,score\na,1,x,1\nb,1,x,1\n", [], "seed"),
        ("arm,seed,item,score\na,1,x,1\nb,1,x,1\n", ["metrics=[x]"], "Remove the other arguments"),
        (None, [], "cannot be read as CSV"),
    ],
)
def test_an_invalid_file_is_reported(
    workplace: Path, content: str | None, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("scores.csv").write_text(content, encoding="utf-8")
    assert main(["compare", "scores.csv", *options]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_options_of_score_files_do_not_apply_to_studies(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "demo", "--json"]) == 1
    assert "applies only to files of scores" in capsys.readouterr().err


def write_samples(file: Path, correct: list[bool], **fields: Any) -> None:
    """Write a sample file in the format of lm-evaluation-harness."""
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = [
        {
            "doc_id": number,
            "doc": {"question": f"question {number}", "passage": f"passage {number // 4}"},
            "target": "1",
            "arguments": {"gen_args_0": {"arg_0": "a"}},
            "resps": [[["-1.5", "False"]]],
            "filtered_resps": [["-1.5", "False"]],
            "filter": "none",
            "metrics": ["acc", "acc_norm"],
            "doc_hash": f"hash {number}",
            "acc": float(is_correct),
            "acc_norm": float(not is_correct),
        }
        | fields
        for number, is_correct in enumerate(correct)
    ]
    file.write_text("".join(json.dumps(sample) + "\n" for sample in samples), encoding="utf-8")


SAMPLES = "results/{arm}/{seed}/org__model/samples_arc_easy_2025-01-31T10-00-00.123456.jsonl"


def test_sample_files_of_the_harness_are_compared(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for arm, chance in (("full", 0.4), ("filtered", 0.8)):
        for seed in range(1, 6):
            correct = [bool(value) for value in rng.random(40) < chance]
            write_samples(Path(SAMPLES.format(arm=arm, seed=seed)), correct)
            rows += [
                (arm, str(seed), f"arc_easy/{i}", float(value), f"passage {i // 4}") for i, value in enumerate(correct)
            ]
    files = [str(file) for file in sorted(workplace.glob("results/**/*.jsonl"))]
    assert main(["compare", *files, "--metric", "acc", "--cluster", "passage", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    table = pd.DataFrame(rows, columns=["arm", "seed", "item", "score", "cluster:cluster"])
    expected = contrast(table, "filtered", "full", blocked=True)
    assert printed["contrasts"][0]["difference"] == pytest.approx(expected.difference)
    assert printed["contrasts"][0]["ci_low"] == pytest.approx(expected.ci_low)
    assert printed["contrasts"][0]["levels"] == {"cluster": 10}
    assert main(["compare", *files, "--metric", "acc"]) == 0
    assert "10 sample files: 40 items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, [], "several metrics. Choose one with --metric: acc, acc_norm"),
        ({}, ["--metric", "accc"], "Did you mean 'acc'?"),
        ({"filtered/1": {"filter": "strict"}}, ["--metric", "acc", "--filter", "stric"], "Did you mean 'strict'?"),
        ({"full/1": {"acc": [1, 2]}}, ["--metric", "acc"], "is not a number, but [1, 2]"),
        ({"full/1": {"doc_hash": "x"}}, ["--metric", "acc"], "differs between"),
        ({"full/2": {"doc_id": None, "metrics": None}}, ["--metric", "f1"], "no metric 'f1'"),
        ({"models/full": {}}, ["--metric", "acc"], "does not contain an arm and a seed"),
        ({}, ["--metric", "acc", "--runs", "{arm}"], "expected {arm} and {seed} once each"),
        ({}, ["--metric", "acc", "--runs", "run_{arm}_{seed}"], "does not contain 'run_{arm}_{seed}'"),
        ({}, ["--metric", "acc", "--cluster", "page"], "no key 'page'. Choose a key of doc: question, passage"),
    ],
)
def test_invalid_sample_files_are_reported(
    workplace: Path,
    files: dict[str, dict[str, Any]],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, fields in {"full/1": {}, "filtered/1": {}, **files}.items():
        write_samples(Path(f"results/{folder}/samples_arc.jsonl"), [True, False], **fields)
    arguments = [str(file) for file in sorted(Path("results").glob("**/*.jsonl"))]
    assert main(["compare", *arguments, *options]) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_file_that_is_no_sample_file_is_reported(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("full-seed-1.jsonl").write_text("{}\n", encoding="utf-8")
    assert main(["compare", "full-seed-1.jsonl"]) == 1
    assert "line 1 of full-seed-1.jsonl has no doc_id" in " ".join(capsys.readouterr().err.split())
