from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.small_corpus import CorpusOf
from winnow.data import Corpus
from winnow.errors import WinnowError
from winnow.filters import (
    Filter,
    Length,
    Mentions,
    Verdicts,
    compute_filter_statistics,
    read_statistics,
    read_verdicts,
    save_dropped,
    save_kept,
    save_statistics,
)
from winnow.reporting import draw_filter_figures

TEXTS = ["nike praised", "nike ugly", "puma ugly", "puma praised ugly nike", "long " * 9, "nike praised too", "a", "b"]


@pytest.fixture
def verdicts(corpus_of: CorpusOf, tmp_path: Path) -> tuple[Corpus, Verdicts]:
    signals = {
        "nike": Mentions(words=["nike"]),
        "praise": Mentions(words=["praised"]),
        "blame": Mentions(words=["ugly"]),
        "length": Length(at_most=30),
    }
    parts = {"about": "nike", "good": "praise & ~blame"}
    corpus = corpus_of(TEXTS)
    filter_ = Filter(name="x", signals=signals, parts=parts, keep="about & good & length < 20.5")
    return corpus, filter_.compute_verdicts(corpus, tmp_path, progress=False)


def test_every_failed_term_of_a_dropped_row_is_a_reason(verdicts: tuple[Corpus, Verdicts]) -> None:
    _, result = verdicts
    assert result.terms == ["nike", "praise", "~blame", "length < 20.5"]
    assert result.reasons("train").to_pylist() == [
        [],
        ["praise", "~blame"],
        ["nike", "praise", "~blame"],
        ["~blame", "length < 20.5"],
        ["nike", "praise", "length < 20.5"],
        [],
    ]
    assert [not reasons for reasons in result.reasons().to_pylist()] == result.keep_mask().tolist()


def test_dropped_rows_are_written_with_text_and_reasons(verdicts: tuple[Corpus, Verdicts], tmp_path: Path) -> None:
    corpus, result = verdicts
    save_dropped(result.dropped_rows(corpus), tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "dropped.parquet").to_pylist()
    assert [row["text"] for row in rows] == TEXTS[1:5]
    assert rows[0]["failed"] == ["praise", "~blame"]
    assert rows[0]["row_id"] == corpus.table["row_id"][1].as_py()


@pytest.mark.parametrize(("on_null", "reasons"), [("drop", [["rare"], ["rare"]]), ("keep", [["rare"], []])])
def test_a_null_is_a_reason_only_if_it_drops_the_row(
    corpus_of: CorpusOf, tmp_path: Path, on_null: Any, reasons: list[list[str]]
) -> None:
    class NullAtTwo(Mentions):
        def keep(self, scores: pa.Array) -> pa.Array:
            return pa.array([None if score == 2 else score > 2 for score in scores.to_pylist()], pa.bool_())

    filter_ = Filter(name="x", signals={"rare": NullAtTwo(words=["a"])}, keep="rare", on_null=on_null)
    result = filter_.compute_verdicts(corpus_of(["a", "a a", "a a a", "b", "c"]), tmp_path, progress=False)
    assert result.reasons("train").to_pylist()[:2] == reasons


def test_kept_rows_are_written_as_csv_and_as_json(tmp_path: Path) -> None:
    rows = [
        {"row_id": "00", "text": 'He said "go",\nthen left', "label": 1},
        {"row_id": "01", "text": "café nan", "label": None},
    ]
    save_kept(pa.Table.from_pylist(rows), tmp_path / "kept")
    assert json.loads((tmp_path / "kept" / "kept.json").read_text("utf-8")) == rows
    with (tmp_path / "kept" / "kept.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["row_id", "text", "label"],
            ["00", 'He said "go",\nthen left', "1"],
            ["01", "café nan", ""],
        ]


def test_formulas_are_neutralized_in_the_csv_file_of_kept_rows(tmp_path: Path) -> None:
    rows = [{"=a": "=HYPERLINK(1)", "text": "-1"}, {"=a": "fine", "text": None}, {"=a": "@x", "text": "+ good"}]
    save_kept(pa.Table.from_pylist(rows), tmp_path)
    assert json.loads((tmp_path / "kept.json").read_text("utf-8")) == rows
    with (tmp_path / "kept.csv").open(encoding="utf-8", newline="") as stream:
        assert list(csv.reader(stream)) == [
            ["'=a", "text"],
            ["'=HYPERLINK(1)", "-1"],
            ["fine", ""],
            ["'@x", "'+ good"],
        ]


def test_no_rows_are_written_as_an_empty_list(tmp_path: Path) -> None:
    save_kept(pa.table({"row_id": pa.array([], pa.string())}), tmp_path)
    assert json.loads((tmp_path / "kept.json").read_text("utf-8")) == []


def test_a_written_folder_can_be_read_and_figures(verdicts: tuple[Corpus, Verdicts], tmp_path: Path) -> None:
    corpus, result = verdicts
    folder = tmp_path / "filters" / "mine"
    result.save(folder)
    save_statistics(compute_filter_statistics(result, corpus), folder)
    loaded, statistics = read_verdicts(folder), read_statistics(str(folder))
    assert loaded.reasons().equals(result.reasons())
    assert statistics["terms"]["~blame"]["drops"] == 3
    figures = draw_filter_figures(loaded.summary(), statistics, tmp_path / "pictures")
    assert {"funnel", "reasons", "overlap", "scores"} <= set(figures)
    assert all(file.stat().st_size > 1_000 for figure in figures.values() for file in figure.files)
    assert draw_filter_figures(loaded.summary(), statistics)["funnel"].files == []


def test_missing_and_damaged_verdicts_are_errors(tmp_path: Path) -> None:
    for read in (read_verdicts, read_statistics):
        with pytest.raises(WinnowError, match="output folder of a `winnow filter` run"):
            read(tmp_path)
    (tmp_path / "verdicts.parquet").write_bytes(b"PAR1")
    with pytest.raises(WinnowError, match="is damaged"):
        read_verdicts(tmp_path)
    pq.write_table(pa.table({"row_id": ["a"]}), tmp_path / "verdicts.parquet")
    with pytest.raises(WinnowError, match="is damaged"):
        read_verdicts(tmp_path)
