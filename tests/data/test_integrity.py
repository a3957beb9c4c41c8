from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from winnow.config import construct
from winnow.data import AllowedValues, Bounds, Check, Dataset, Files, NonNull, Split, Unique, ZScore
from winnow.errors import WinnowError

TEXTS = pa.chunked_array([["good shoes", None, " "], ["Good  SHOES", "a" * 90]])
STARS = pa.chunked_array([[5, 1, None, 4, 60]], pa.int64())


@pytest.mark.parametrize(
    ("check", "values", "failing"),
    [
        (NonNull(), TEXTS, [1, 2]),
        (NonNull(), STARS, [2]),
        (Bounds(at_least=2, at_most=50), TEXTS, [2, 4]),
        (Bounds(at_most=5), STARS, [4]),
        (Unique(), TEXTS, [3]),
        (Unique(), pa.chunked_array([[1, 2, 1, None, None]]), [2]),
        (AllowedValues(values=[1, 2, 3, 4, 5]), STARS, [4]),
        (AllowedValues(values=["good shoes"]), TEXTS, [2, 3, 4]),
        (ZScore(at_most=1.5), STARS, [4]),
        (ZScore(), STARS, []),
        (ZScore(), pa.chunked_array([[7, 7, 7]]), []),
        (ZScore(), pa.chunked_array([[None, None]], pa.float64()), []),
    ],
)
def test_what_fails_a_check(check: Check, values: pa.ChunkedArray, failing: list[int]) -> None:
    assert check.fails(values).nonzero()[0].tolist() == failing


@pytest.fixture
def rated(write_csv: Callable[..., Path]) -> Callable[..., Dataset]:
    rows = [f"text {i},{i % 5 + 1}" for i in range(60)] + ["text 3,9", ",2", "x,4"]
    source = Files(path=write_csv("text,stars\n" + "\n".join(rows) + "\n"), text=["text"], label="stars")

    def make(**checks: Check) -> Dataset:
        return Dataset(name="rated", source=source, split=Split(0.2, 0.2), integrity=checks)

    return make


def test_rows_are_dropped_or_flagged_and_always_counted(rated: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = rated(
        filled=NonNull(action="drop"),
        short=Bounds(at_least=3),
        stars=AllowedValues(column="label", values=[1, 2, 3, 4, 5], action="drop"),
        again=Unique(),
    )
    corpus = dataset.load(tmp_path)
    assert (corpus.funnel["read"], corpus.funnel["sound"], corpus.funnel["unique"]) == (63, 61, 61)
    assert corpus.cumulative_failures[0] == [1, 0]
    assert corpus.cumulative_failures[-1] == [
        63,
        3,
    ]  # one row has no text, one has nine stars and is there again, one is short
    assert [rows for rows, _ in corpus.cumulative_failures] == sorted({rows for rows, _ in corpus.cumulative_failures})
    assert corpus.integrity == {
        "filled": {"action": "drop", "rows": 63, "failed": 1},
        "short": {"action": "flag", "rows": 63, "failed": 1},
        "stars": {"action": "drop", "rows": 63, "failed": 1},
        "again": {"action": "flag", "rows": 63, "failed": 1},
    }
    flags = dict(zip(corpus.table["text"].to_pylist(), corpus.table["flags"].to_pylist(), strict=True))
    assert flags["x"] == "short"
    assert flags["text 3"] == ""
    assert dataset.load(tmp_path).integrity == corpus.integrity
    assert dataset.fingerprint() != rated(filled=NonNull(action="drop")).fingerprint() != rated().fingerprint()


def test_a_check_that_may_not_fail_names_the_first_row(rated: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = rated(stars=Bounds(column="label", at_most=5, action="fail"))
    with pytest.raises(
        WinnowError, match=r"1 of 63 rows fail this check. The first is row 61 with 'label' = 9"
    ) as caught:
        dataset.load(tmp_path)
    assert caught.value.key == "integrity.stars"
    with pytest.raises(WinnowError, match=r"no column 'lable'\. Did you mean 'label'") as caught:
        rated(stars=Bounds(column="lable", at_most=5)).load(tmp_path)
    assert caught.value.key == "integrity.stars.column"


def test_checks_are_named_in_yaml(compose: Callable[..., dict[str, Any]]) -> None:
    tree = compose(
        "+dataset=synthetic_reviews",
        "+dataset.integrity.short={_target_: winnow.data.Bounds, at_least: 3}",
        "+dataset.integrity.label={_target_: winnow.data.AllowedValues, column: label, values: [0, 1], action: fail}",
    )
    checks = construct(tree["dataset"], "dataset", Dataset).integrity
    assert checks == {
        "non_null": NonNull(action="drop"),
        "short": Bounds(at_least=3),
        "label": AllowedValues(column="label", values=[0, 1], action="fail"),
    }
