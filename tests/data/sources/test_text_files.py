from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.data import Dataset, Split, TextFiles
from winnow.errors import WinnowError

WIKI = "\n = Robert Boulter = \n \n He is an actor .\n He had a role .\n = = Job = = \n In 2000 = good .\n\n\n Next\n"


def rows(path: Path, **settings: Any) -> list[str]:
    found: list[str] = TextFiles(path=path, **settings).read()["text"].to_pylist()
    return found


def test_a_line_is_a_row_and_a_blank_line_is_none(write_csv: Callable[..., Path]) -> None:
    path = write_csv(WIKI, "wiki.txt")
    texts = ["He is an actor .", "He had a role .", "In 2000 = good .", "Next"]
    assert rows(path) == ["= Robert Boulter =", *texts[:2], "= = Job = =", *texts[2:]]
    assert rows(path, headings="drop") == texts


def test_a_paragraph_ends_at_a_blank_line_or_a_heading(write_csv: Callable[..., Path]) -> None:
    path = write_csv(WIKI, "wiki.txt")
    paragraphs = ["He is an actor . He had a role .", "In 2000 = good .", "Next"]
    assert rows(path, unit="paragraph", headings="drop") == paragraphs
    assert rows(path, unit="paragraph") == ["= Robert Boulter =", paragraphs[0], "= = Job = =", *paragraphs[1:]]


def test_faults_name_the_file(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    path = write_csv(b"one\ncaf\xe9\n", "x.txt")
    with pytest.raises(WinnowError, match="0xe9 on line 2"):
        rows(path)
    assert rows(path, encoding="cp1252") == ["one", "café"]
    long = write_csv("".join(f"line {i}\n" for i in range(60)).encode() + b"\ncaf\xe9\nmore\n\nlast", "y.txt")
    source = TextFiles(path=long, unit="paragraph", on_error="drop")
    table = source.read()
    message = f"broken line 63 of {long}: the line cannot be decoded with the encoding 'utf-8-sig'."
    assert table["fault"].to_pylist()[1] == message
    assert table["text"].to_pylist()[1:] == [None, "last"]
    dataset = Dataset(name="x", source=TextFiles(path=long, on_error="drop"), split=Split(0.2, 0.2))
    corpus = dataset.load(tmp_path)
    assert (corpus.funnel["read"], corpus.funnel["whole"], len(corpus.record_errors)) == (63, 62, 1)
    [fault] = TextFiles(path=tmp_path / "none.txt", homepage="example.org").check()
    assert "Download it from example.org" in fault.message


def test_wikitext(shared_data: Path, tmp_path: Path) -> None:
    lines = (shared_data / "wikitext-2" / "valid.txt").read_text("utf-8").split("\n")
    source = TextFiles(path=shared_data / "wikitext-2" / "valid.txt", headings="drop")
    filled = [line.strip() for line in lines if line.strip()]
    expected = [line for line in filled if not (line.startswith("= ") and line.endswith(" ="))]
    assert source.read()["text"].to_pylist() == expected
    assert len(filled) > len(expected) > 1_000
    assert Dataset(name="wiki", source=TextFiles(path=shared_data / "wikitext-2")).load(tmp_path).funnel["read"] > 4_000
