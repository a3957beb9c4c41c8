"""Streams: rows are filtered as they arrive, as `winnow filter` does. A notebook tests the training."""

from pathlib import Path

import pandas as pd
import pytest

import winnow
from winnow.cli import main
from winnow.data import Grammar, NonNull
from winnow.errors import WinnowError
from winnow.filters import Duplicate, Filter, read_verdicts


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    words = {
        "adjective": ["soft", "ugly", "warm", "durable"],
        "brand": ["nike", "puma"],
        "day": [str(i) for i in range(90)],
    }
    grammar = Grammar(
        templates=["the {brand} shoes of day {day} are {adjective}", "on day {day}  {adjective} shoes by {brand}"],
        slots={name: {"words": choices} for name, choices in words.items()},
        rows=900,
    )
    return grammar.read().select(["text"]).to_pandas()


def kept_ids(folder: Path) -> list[str]:
    verdicts = read_verdicts(folder)
    return sorted(verdicts.table.filter(verdicts.table["keep"])["row_id"].to_pylist())


def test_a_stream_decides_like_the_command_and_continues_when_it_is_opened_again(
    rows: pd.DataFrame, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.to_csv("rows.csv", index=False)
    overrides = ["dataset=csv", "dataset.name=stream", "dataset.source.path=rows.csv", "dataset.source.text=[text]"]
    assert main(["filter", *overrides, "tracking=none", "filter=nike_positive"]) == 0
    expected = workplace / "outputs/filters/stream-nike_positive"

    stream = winnow.Stream("nike_positive", "stream", {"non_null": NonNull(action="drop")})
    assert not stream.ready(1)
    for start in range(0, 600, 200):
        stream.log(rows[start : start + 200])
    stream = winnow.Stream("nike_positive", "stream", {"non_null": NonNull(action="drop")})
    assert stream.log(rows[600:]["text"].tolist()) == stream.kept == len(kept_ids(expected)) > 0
    page = stream.health.read_text()
    assert kept_ids(Path("stream")) == kept_ids(expected)
    found, wanted = read_verdicts("stream"), read_verdicts(expected)
    assert found.table.sort_by("row_id").drop_columns(["source"]) == wanted.table.sort_by("row_id").drop_columns(
        ["source"]
    )
    assert found.summary() == wanted.summary()
    failed = rows["text"].isna().sum()
    assert f"<td>{len(rows)}</td><td>{failed}</td>" in page[page.index(">non null ") :][:400]
    assert '<meta http-equiv="refresh" content="5">' in page
    assert stream.ready(stream.kept)
    assert not stream.ready(stream.kept + 1)


def test_rows_that_cannot_be_scored_are_not_stored(tmp_path: Path) -> None:
    @winnow.signal
    def is_short(text: str) -> bool:
        if text == "bad":
            raise ValueError("cannot score")
        return len(text) < 9

    assert is_short.score(["short", None, "a longer text"]).to_pylist() == [1.0, None, 0.0]
    stream = winnow.Stream(Filter(name="mine", signals={"short": is_short}, keep="short"), tmp_path / "stream")
    with pytest.raises(WinnowError, match="cannot score"):
        stream.log(["fine", "bad"])
    assert stream.log(["fine"]) == stream.rows == 1
    with pytest.raises(WinnowError, match="expected a column `text`, got review"):
        stream.log([{"review": "fine"}])
    with pytest.raises(WinnowError, match="expected texts, got a column of type int64"):
        stream.log([1, 2])
    with pytest.raises(WinnowError, match="expected one type of value per column"):
        stream.log(["fine", 2])
    assert "</span> is_short</div>" in stream.health.read_text()
    with pytest.raises(WinnowError, match="has no rows"):
        _ = winnow.Stream("nike_positive", tmp_path / "empty").health
    comparing = Filter(name="mine", signals={"copy": Duplicate()}, keep="~copy")
    with pytest.raises(WinnowError, match="copy compares rows"):
        winnow.Stream(comparing, tmp_path / "comparing").log(["fine"])
