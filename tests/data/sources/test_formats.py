"""The same rows from every format, and every fault with file and row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.data import Dataset, Files, Mixture, Split
from winnow.errors import WinnowError

Write = Callable[..., Path]
ROWS = [
    {"title": "Good", "body": "fits, well", "stars": 5},
    {"title": "Bad", "body": None, "stars": 1},
    {"title": None, "body": None, "stars": None},
]


def source_of(path: Path, **settings: Any) -> Files:
    return Files(path=path, **({"text": ["title", "body"]} | settings))


@pytest.fixture(params=["csv", "tsv", "json", "jsonl", "parquet", "object"])
def table_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    kind = request.param
    path = tmp_path / f"rows.{'json' if kind == 'object' else kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        lines = [["title", "body", "stars"], *([value or "" for value in row.values()] for row in ROWS)]
        path.write_text("".join(mark.join(f'"{cell}"' for cell in line) + "\n" for line in lines))
    elif kind == "jsonl":
        path.write_text("\n\n".join(json.dumps({k: v for k, v in row.items() if v is not None}) for row in ROWS))
    else:
        path.write_text(json.dumps({"about": 1, "data": ROWS} if kind == "object" else ROWS))
    return path


def test_the_same_rows_from_every_format(table_file: Path) -> None:
    source = source_of(table_file, label="stars", columns={"body": "string", "stars": "number"})
    assert source.check() == []
    table = source.read()
    assert table.schema.names == ["text", "label", "body", "stars"]
    assert table.to_pylist() == [
        {"text": "Good fits, well", "label": 5, "body": "fits, well", "stars": 5.0},
        {"text": "Bad", "label": 1, "body": None, "stars": 1.0},
        {"text": None, "label": None, "body": None, "stars": None},
    ]


def test_a_missing_column_is_told_in_every_format(table_file: Path) -> None:
    with pytest.raises(WinnowError, match=r"no column 'bdy'\. Did you mean 'body'\?") as caught:
        source_of(table_file, columns={"bdy": "string"}).read()
    assert caught.value.key == "columns"


def test_nested_values_by_path(tmp_path: Path) -> None:
    rows = [
        {"q": {"title": "Why?"}, "answers": {"text": ["Because.", "So."], "score": [3, 1]}},
        {"q": {"title": "How?"}, "answers": None},
        {"q": {"title": None}, "answers": {"text": [], "score": []}},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("rows.parquet", "rows.jsonl"):
        source = source_of(tmp_path / name, text=["q.title", "answers.text"])
        assert source.read()["text"].to_pylist() == ["Why? Because. So.", "How?", None]
        with pytest.raises(WinnowError, match=r"no column 'answers.texts'"):
            source_of(tmp_path / name, text=["q.title", "answers.texts"]).read()


def test_folders_and_patterns_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, text in (("b.csv", "two"), ("a/z.csv", "one"), ("c.jsonl", "three"), (".hidden/x.csv", "no")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text\n{text}\n" if name.endswith("csv") else json.dumps({"text": text}))
    (tmp_path / "notes.md").write_text("no table")

    def texts(place: Path) -> list[str]:
        found: list[str] = source_of(place, text=["text"]).read()["text"].to_pylist()
        return found

    assert texts(tmp_path) == ["one", "two", "three"]
    assert texts(tmp_path / "*.csv") == ["two"]
    assert texts(tmp_path / "**" / "*.csv") == ["one", "two"]
    with pytest.raises(WinnowError, match=r"has an unknown extension.*Allowed: .csv"):
        texts(tmp_path / "notes.md")
    whole = source_of(tmp_path, text=["text"]).fingerprint()
    (tmp_path / "b.csv").write_text("text\nTWO\n")
    assert source_of(tmp_path, text=["text"]).fingerprint() != whole


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.jsonl", '{"title": "a"}\n{"title": 5}\n', "line 2 of .*x.jsonl: expected text in 'title', got 5 .int"),
        ("x.jsonl", '{"title": "a"}\n\n{"title" "b"}\n', "line 3 of .*x.jsonl: invalid JSON"),
        ("x.jsonl", '{"title": "a"}\n[1]\n', "line 2 of .*: expected an object, got .1."),
        (
            "x.json",
            '[{"title": "a"}, {"title": ["b", 3]}]',
            "record 2 of .*x.json: expected text in 'title', got 3 .int",
        ),
        ("x.json", '[{"title": "a"}, 7]', "record 2 of .*: expected an object, got 7"),
        ("x.json", '[{"title":\n "a"', "not valid JSON: .* on line 2"),
        ("x.json", '{"a": [1], "b": [2]}', "has no list of records"),
        ("x.csv", 'title,body\na,b\nc\n"d"e,f\n', "line 3 of .*expected 2 cells, as in the header, got 1"),
        ("x.csv", 'title,body\na,b\nc,"d\ne,f\ng,h\n', "line 3 of .*a quote is not closed .read up to line 5"),
        ("x.parquet", "PAR1 cut short", "is damaged"),
    ],
)
def test_a_broken_record_is_named_by_file_and_row(write_csv: Write, name: str, content: str, what: str) -> None:
    with pytest.raises(WinnowError, match=f"(?s){what}"):
        source_of(write_csv(content, name), text=["title"]).read()


def test_a_parquet_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"title": [f"text {i}" for i in range(5_000)]}), path)
    path.write_bytes(path.read_bytes()[:-40])
    [fault] = source_of(path, text=["title"]).check()
    assert "rows.parquet is damaged" in fault.message


def test_a_line_of_ten_megabytes_is_a_text(write_csv: Write) -> None:
    long = "word " * 2_000_000
    for name, content in (("x.csv", f"title\n{long}\n"), ("x.jsonl", json.dumps({"title": long}))):
        assert source_of(write_csv(content, name), text=["title"]).read()["text"].to_pylist() == [long]


def test_broken_records_are_dropped_and_counted_where_the_user_asks(write_csv: Write, tmp_path: Path) -> None:
    good = "".join(f"text {i},{i}\n" for i in range(60))
    broken = write_csv(f'title,n\n{good}short\n"a"b,2\ncaf\udce9,3\nlast,4\n'.encode(errors="surrogateescape"))
    source = source_of(broken, text=["title"], columns={"n": "number"}, on_error="drop")
    corpus = Dataset(name="x", source=source, split=Split(0.2, 0.2)).load(tmp_path)
    assert (corpus.funnel["read"], corpus.funnel["whole"], corpus.funnel["unique"]) == (64, 61, 61)
    assert [fault[:15] for fault in corpus.record_errors] == ["broken line 62 ", "broken line 63 ", "broken line 64 "]
    assert "bytes that cannot be decoded" in corpus.record_errors[2]
    assert corpus.table["n"].to_pylist()[-1] == 4.0
    assert Dataset(name="x", source=source, split=Split(0.2, 0.2)).load(tmp_path).record_errors == corpus.record_errors


def test_columns_reach_the_corpus_and_its_fingerprint(write_csv: Write, tmp_path: Path) -> None:
    rows = "".join(f"text {i},{i % 5},{i}\n" for i in range(60))
    path = write_csv(f"text,stars,n\n{rows}")

    def corpus(**settings: Any) -> Any:
        mixture = Mixture(sources={"a": Files(path=path, text=["text"], **settings)})
        return Dataset(name="x", source=mixture, split=Split(0.2, 0.2)).load(tmp_path)

    plain, rated = corpus(), corpus(columns={"stars": "number", "n": "string"})
    assert rated.table.column_names == ["row_id", "text", "source", "split", "stars", "n"]
    assert rated.table["stars"].to_pylist()[:3] == [0.0, 1.0, 2.0]
    assert len({plain.fingerprint, rated.fingerprint, corpus(columns={"n": "number"}).fingerprint}) == 3


def test_columns_of_a_corpus_cannot_be_taken(tmp_path: Path) -> None:
    with pytest.raises(WinnowError, match="'split' is reserved"):
        source_of(tmp_path, columns={"split": "string"})


def test_two_sources_may_not_disagree_about_a_column(write_csv: Write) -> None:
    path = write_csv("title,n\na,1\n")
    kinds = {"a": "number", "b": "string"}
    sources = {name: source_of(path, text=["title"], columns={"n": kind}) for name, kind in kinds.items()}
    with pytest.raises(WinnowError, match="expected each column to have the same type"):
        Mixture(sources=sources).read()  # type: ignore[arg-type]
