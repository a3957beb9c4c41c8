"""Data files that are damaged, empty, not in the given format, or contain values that Arrow cannot store."""

import json
from pathlib import Path

import pytest

from fixtures.bad_inputs import BadInput, Reject, cases

DEEP = 100_000


@pytest.mark.parametrize(
    ("name", "content", "key", "text"),
    [
        ("a.csv", "", "path", "is empty"),
        ("a.csv", "text\n", "", "the corpus is empty"),
        ("a.csv", "text,text\na,b\n", "text", "2 columns named 'text'"),
        ("a.csv", "txt\na\n", "text", "Did you mean 'txt'?"),
        ("a.csv", 'text\n"abc\n', "path", "a quote is not closed"),
        ("a.csv", "text,b\n1,2,3\n", "path", "expected 2 cells"),
        ("a.csv", bytes(range(256)) * 10, "encoding", "cannot decode"),
        ("a.csv", "text\ncafé\n".encode("latin-1"), "encoding", "0xe9"),
        ("a.csv", "text\nabc\n".encode("utf-16"), "encoding", "0xff"),
        ("a.csv", "\n\n\n", "path", "is empty"),
        ("a.tsv", "text,stars\na,1\n", "text", "has no column 'text'"),
        ("a.json", "", "path", "not valid JSON"),
        ("a.json", "{", "path", "not valid JSON"),
        ("a.json", "1", "path", "no list of records"),
        ("a.json", "[]", "", "the corpus is empty"),
        ("a.json", "[1, 2]", "path", "expected an object"),
        ("a.json", '{"a": [], "b": []}', "path", "exactly one list"),
        ("a.json", '[{"text": NaN}]', "text", "got nan"),
        ("a.json", '[{"text": {"a": 1}}]', "text", "expected text"),
        ("a.json", b"\xff\xfe[]", "encoding", "0xff"),
        ("a.json", "[" * DEEP + "]" * DEEP, "path", "nested too deeply"),
        ("a.json", '{"a":' * DEEP + "1" + "}" * DEEP, "path", "nested too deeply"),
        ("a.json", '[{"text": ' + "9" * 5_000 + "}]", "path", "too many digits"),
        ("a.json", json.dumps([{"text": "a\ud800b"}]), "text", "not valid Unicode"),
        ("a.json", json.dumps([{"\ud800": "a"}]), "text", "Allowed: '\\ud800'"),
        ("a.jsonl", '{"text": "a"\n', "path", "invalid JSON"),
        ("a.jsonl", '{"text": "a\\ud800b"}\n', "text", "not valid Unicode"),
        ("a.jsonl", '{"text": ' + "[" * DEEP + "]" * DEEP + "}\n", "path", "nested too deeply"),
        ("a.jsonl", '{"text": "a", "label": ' + "9" * 5_000 + "}\n", "path", "too many digits"),
        ("a.jsonl", '"text"\n', "path", "expected an object"),
        ("a.parquet", b"", "path", "damaged"),
        ("a.parquet", b"PAR1xxxxPAR1", "path", "damaged"),
        ("a.parquet", "text\na\n", "path", "damaged"),
        ("a.xlsx", b"PK", "format", "unknown extension"),
    ],
)
def test_a_file(reject: Reject, tmp_path: Path, name: str, content: str | bytes, key: str, text: str) -> None:
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    arguments = ["filter", "dataset=csv", f"dataset.source.path={file}", "dataset.source.text=[text]"]
    full_key = f"dataset.source.{key}" if key else "dataset.source"
    reject(BadInput([*arguments, "filter=nike_positive"], full_key, text))


READ = "filter filter=nike_positive dataset=csv dataset.source.path=reviews.csv dataset.source.text=[text]"
SOURCE = "dataset.source"
SPLIT = "dataset.split"


@cases(
    (f"{READ} {SOURCE}.path=nowhere.csv", f"{SOURCE}.path", "no file nowhere.csv"),
    (f"{READ} {SOURCE}.path=temporary", f"{SOURCE}.path", "in the folder temporary"),
    (f"{READ} {SOURCE}.path=/dev/null", f"{SOURCE}.path"),
    (f"{READ} {SOURCE}.path={'x' * 5_000}", f"{SOURCE}.path", "too long"),
    (f"{READ} {SOURCE}.path=null", f"{SOURCE}.path"),
    (f"{READ} {SOURCE}.path=[a]", f"{SOURCE}.path"),
    (f"{READ} {SOURCE}.path='*.nothing'", f"{SOURCE}.path"),
    (f"{READ} {SOURCE}.encoding=foo", f"{SOURCE}.encoding", "unknown encoding"),
    (f"{READ} {SOURCE}.encoding=rot13", f"{SOURCE}.encoding"),
    (f"{READ} {SOURCE}.encoding=utf-16", f"{SOURCE}.encoding", "utf-16"),
    (f"{READ} {SOURCE}.separator=ab", f"{SOURCE}.separator"),
    (f"{READ} {SOURCE}.separator=';'", f"{SOURCE}.text"),
    (f"{READ} {SOURCE}.format=xml", f"{SOURCE}.format", "Allowed"),
    (f"{READ} {SOURCE}.format=parquet", f"{SOURCE}.path", "damaged"),
    (f"{READ} {SOURCE}.format=json", f"{SOURCE}.path", "not valid JSON"),
    (f"{READ} {SOURCE}.text=[]", f"{SOURCE}.text"),
    (f"{READ} {SOURCE}.text=null", f"{SOURCE}.text"),
    (f"{READ} {SOURCE}.text=[null]", f"{SOURCE}.text.0"),
    (f"{READ} {SOURCE}.text=[texts]", f"{SOURCE}.text", "Did you mean 'text'?"),
    (f"{READ} {SOURCE}.label=nope", f"{SOURCE}.label"),
    (f"{READ} {SOURCE}.columns={{stars:date}}", f"{SOURCE}.columns.stars"),
    (f"{READ} {SOURCE}.columns=[a]", f"{SOURCE}.columns", "has no column 'a'"),
    (f"{READ} {SOURCE}.columns=[1]", f"{SOURCE}.columns"),
    (f"{READ} {SOURCE}.group=nope", f"{SOURCE}.group", "has no column 'nope'"),
    (f"{READ} {SOURCE}.columns={{text:string}}", f"{SOURCE}.columns", "reserved"),
    (f"{READ} {SOURCE}.columns={{nope:number}}", f"{SOURCE}.columns"),
    (f"{READ} {SOURCE}.on_error=ignore", f"{SOURCE}.on_error"),
    (f"{READ} +{SOURCE}.sheet=1", f"{SOURCE}.sheet", "unknown key"),
    (f"{READ} {SOURCE}._target_=winnow.data.Excel", f"{SOURCE}._target_"),
    (
        f"{READ} dataset.split.validation_fraction=0.5 dataset.split.test_fraction=0.5",
        "dataset.split.validation_fraction",
    ),
)
def test_a_source(reject: Reject, bad: BadInput) -> None:
    reject(bad)
