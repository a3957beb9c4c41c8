"""Tests of tables as CSV, Markdown, LaTeX and notebook HTML."""

import csv
from pathlib import Path

import pytest

from winnow.reporting.table_rendering import build_table, save_table

ROWS = [
    {"word": "50% a_b & <i>", "rank": 1, "share": 0.123456789, "known": True},
    {"word": "left | right\n", "rank": 12345, "share": -0.5, "known": None},
    {"word": "alone", "rank": None, "share": float("nan")},
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    written = save_table(ROWS, tmp_path / "tables", "words", "Words of 100% & more")
    assert [file.name for file in written] == ["words.csv", "words.md", "words.tex"]
    return {file.suffix: file.read_text("utf-8") for file in written}


def test_csv_has_full_precision_and_empty_unknown_values(files: dict[str, str]) -> None:
    rows = list(csv.DictReader(files[".csv"].splitlines(keepends=True)))
    assert rows[0] == {"word": "50% a_b & <i>", "rank": "1", "share": "0.123456789", "known": "True"}
    assert rows[2] == {"word": "alone", "rank": "", "share": "", "known": ""}


def test_markdown_aligns_numbers_and_escapes_pipes(files: dict[str, str]) -> None:
    lines = files[".md"].splitlines()
    assert lines[1] == "| --- | ---: | ---: | --- |"
    assert lines[3] == "| left \\| right  | 12,345 | \N{MINUS SIGN}0.500 |  |"
    assert len(lines) == 5


def test_latex_has_booktabs_rules_and_escapes_special_characters(files: dict[str, str]) -> None:
    text = files[".tex"]
    assert "\\begin{tabular}{lrrl}" in text
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\centering", "\\label{tab:words}"))
    assert "\\caption{Words of 100\\% \\& more}" in text
    assert "50\\% a\\_b \\& \\textless{}i\\textgreater{} & 1 & 0.123 & True \\\\" in text
    assert "12,345 & $-$0.500" in text


def test_files_neutralize_texts_from_data() -> None:
    rows = [
        {"=word": "=1+1", "@x": "-0.5", "change": -0.5},
        {"=word": "<script>[a](http://b)", "@x": "- b", "change": None},
    ]
    table = build_table(rows, "words")
    assert table.to_csv() == "'=word,'@x,change\n'=1+1,-0.5,-0.5\n<script>[a](http://b),'- b,\n"
    assert "&lt;script>\\[a](http://b)" in table.to_markdown()
    assert table.data["=word"][0] == "=1+1", "the table itself is not changed"
    html = build_table([{"<i>a</i>": "b"}], "words", "<b>c</b>")._repr_html_()
    assert "<i>" not in html
    assert "<b>" not in html


def test_notebook_html_is_escaped() -> None:
    html = build_table(ROWS, "words", "Words")._repr_html_()
    assert "&lt;i&gt;" in html
    assert "<caption>Words</caption>" in html
