"""`winnow compare FILE.csv`: the protocol of a study, applied to scores from elsewhere."""

import json
from pathlib import Path

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
        ("arm,seed,item,score\na,1,x,1\nb,1,x,1\n", ["--baseline", "c"], "the file has no arm 'c'. Allowed: a, b"),
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
    assert "apply only to a CSV file" in capsys.readouterr().err
