"""Tests of :mod:`winnow.data.text_columns`, which must give the same results as the functions for single texts."""

import sys

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.data import CleaningStep, normalize
from winnow.data.cleaning import clean_texts
from winnow.data.text_columns import WHITESPACE, are_blank, clean_text_column, normalize_column

ATOMS = [
    "Nike",
    "nike",
    "e\u0301",
    "É",
    "ﬁ",
    "ẞ",
    "İ",
    "\uff21",
    "٣",
    "42",
    "don't",
    "\u2019",
    "!",
    "_",
    "`",
    "~",
    "😀",
    "\x00",
    "\x7f",
]
TEXTS = st.lists(st.sampled_from([*ATOMS, *WHITESPACE, " ", "  "]), max_size=6).map("".join) | st.text(max_size=6)
CHUNKS = st.lists(st.lists(TEXTS | st.none(), max_size=8), max_size=3)


def column_of(chunks: list[list[str | None]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(chunk, pa.string()) for chunk in chunks], pa.string())


def test_whitespace_is_that_of_python() -> None:
    assert set(WHITESPACE) == {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()}


@settings(max_examples=150, deadline=None)
@given(CHUNKS, st.lists(st.sampled_from(CleaningStep), max_size=4))
def test_columns_are_cleaned_as_single_texts(chunks: list[list[str | None]], steps: list[CleaningStep]) -> None:
    column = column_of(chunks)
    texts = column.to_pylist()
    assert are_blank(column).to_pylist() == [None if text is None else text.isspace() for text in texts]
    cleaned = clean_text_column(column, steps)
    assert cleaned.to_pylist() == clean_texts(texts, steps)
    assert normalize_column(cleaned.drop_null()).to_pylist() == list(map(normalize, cleaned.drop_null().to_pylist()))
