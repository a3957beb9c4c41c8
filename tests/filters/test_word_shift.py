from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from winnow.filters.word_shift import PRIOR_WORDS, count_words, word_shift

TEXTS = ["nike shoes are great", "puma shoes are bad", "nike nike", "bad bad puma", "the shoes"]
KEPT = np.array([True, False, True, False, True])


def test_the_log_odds_ratio_as_published() -> None:
    one = Counter(word for text, kept in zip(TEXTS, KEPT, strict=True) if kept for word in text.split())
    other = Counter(word for text, kept in zip(TEXTS, KEPT, strict=True) if not kept for word in text.split())
    everything = one + other

    def z(word: str) -> float:
        a = PRIOR_WORDS * everything[word] / everything.total()
        first, second = one[word] + a, other[word] + a
        delta = math.log(first / (one.total() + PRIOR_WORDS - first))
        delta -= math.log(second / (other.total() + PRIOR_WORDS - second))
        return delta / math.sqrt(1 / first + 1 / second)

    found = word_shift(pa.chunked_array([TEXTS]), KEPT)
    told = {entry["word"]: entry["z"] for side in ("kept", "dropped") for entry in found[side]}
    assert told == pytest.approx({word: z(word) for word in everything})
    assert found["kept"][0]["word"] == "nike"
    assert found["dropped"][0]["word"] == "bad"
    assert found["kept"][0]["kept"] == pytest.approx(1000 * 3 / 8)
    assert found["dropped"][0]["dropped"] == pytest.approx(1000 * 3 / 7)
    assert [entry["z"] for entry in found["dropped"]] == sorted(entry["z"] for entry in found["dropped"])


def test_a_word_that_is_as_common_on_both_sides_tells_nothing() -> None:
    rows = ["same one", "same two"] * 50
    found = word_shift(pa.chunked_array([rows]), np.arange(100) % 2 == 0)
    assert [entry["word"] for side in ("kept", "dropped") for entry in found[side]] == ["one", "two"]
    assert word_shift(pa.chunked_array([["a", "b"]]), np.array([True, True])) == {"rows": 2, "kept": [], "dropped": []}


def test_words_of_any_script_are_counted() -> None:
    texts = ["Don't! User-friendly,GREAT...", "don\u2019t -- cafe\u0301 \u65e5\u672c\u8a9e 3.5", None, "", "'quoted'"]
    assert count_words(pa.chunked_array([texts], pa.string())) == {
        "don't": 1, "user-friendly": 1, "great": 1, "don\u2019t": 1, "cafe\u0301": 1, "\u65e5\u672c\u8a9e": 1,
        "3": 1, "5": 1, "quoted": 1,
    }  # fmt: skip


def test_many_rows_are_looked_at_by_a_spread_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.filters.word_shift.ROWS", 10)
    found = word_shift(pa.chunked_array([["a", "b"] * 500]), np.arange(1_000) < 500)
    assert found["rows"] == 10
