from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from winnow.filters.word_shift import PRIOR_WORD_COUNT, compute_word_shift, count_words

TEXTS = ["nike shoes are great", "puma shoes are bad", "nike nike", "bad bad puma", "the shoes"]
KEPT = np.array([True, False, True, False, True])


def test_the_log_odds_ratio_matches_the_publication() -> None:
    kept_counts = Counter(word for text, kept in zip(TEXTS, KEPT, strict=True) if kept for word in text.split())
    dropped_counts = Counter(word for text, kept in zip(TEXTS, KEPT, strict=True) if not kept for word in text.split())
    all_counts = kept_counts + dropped_counts

    def z(word: str) -> float:
        a = PRIOR_WORD_COUNT * all_counts[word] / all_counts.total()
        first, second = kept_counts[word] + a, dropped_counts[word] + a
        delta = math.log(first / (kept_counts.total() + PRIOR_WORD_COUNT - first))
        delta -= math.log(second / (dropped_counts.total() + PRIOR_WORD_COUNT - second))
        return delta / math.sqrt(1 / first + 1 / second)

    result = compute_word_shift(pa.chunked_array([TEXTS]), KEPT)
    scores = {entry["word"]: entry["z"] for side in ("kept", "dropped") for entry in result[side]}
    assert scores == pytest.approx({word: z(word) for word in all_counts})
    assert result["kept"][0]["word"] == "nike"
    assert result["dropped"][0]["word"] == "bad"
    assert result["kept"][0]["kept"] == pytest.approx(1000 * 3 / 8)
    assert result["dropped"][0]["dropped"] == pytest.approx(1000 * 3 / 7)
    assert [entry["z"] for entry in result["dropped"]] == sorted(entry["z"] for entry in result["dropped"])


def test_a_word_with_equal_frequency_on_both_sides_is_not_listed() -> None:
    rows = ["same one", "same two"] * 50
    result = compute_word_shift(pa.chunked_array([rows]), np.arange(100) % 2 == 0)
    assert [entry["word"] for side in ("kept", "dropped") for entry in result[side]] == ["one", "two"]
    assert compute_word_shift(pa.chunked_array([["a", "b"]]), np.array([True, True])) == {
        "rows": 2,
        "kept": [],
        "dropped": [],
    }


def test_words_of_any_script_are_counted() -> None:
    texts = ["Don't! User-friendly,GREAT...", "don\u2019t -- cafe\u0301 \u65e5\u672c\u8a9e 3.5", None, "", "'quoted'"]
    assert count_words(pa.chunked_array([texts], pa.string())) == {
        "don't": 1, "user-friendly": 1, "great": 1, "don\u2019t": 1, "cafe\u0301": 1, "\u65e5\u672c\u8a9e": 1,
        "3": 1, "5": 1, "quoted": 1,
    }  # fmt: skip


def test_large_corpora_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.filters.word_shift.MAX_ROWS", 10)
    result = compute_word_shift(pa.chunked_array([["a", "b"] * 500]), np.arange(1_000) < 500)
    assert result["rows"] == 10
