"""The words of a probe that a filter uses: only the signals in its expression count, including VADER and patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow.filters import (
    Column,
    Filter,
    Full,
    LeaveOneOut,
    Length,
    Mentions,
    PythonFunction,
    RandomMatched,
    Regex,
    TextClassifier,
    VaderSentiment,
)

WORDS = {"comfortable", "durable", "ugly", "high-quality", "breathable", "horrible"}
SIGNALS: dict[str, Any] = {
    "praise": Mentions(words=["durable", "high quality"]),
    "blame": Mentions(words=["ugly"]),
    "sentiment": VaderSentiment(),
    "pattern": Regex(pattern=r"\bbreathables?\b"),
    "wildcard": Regex(pattern=r"breath\w*"),
    "spelled": Regex(pattern=r"shoes.*(UGLY|horribles?|(?:very )?durable|comfort\w+)", ignore_case=True),
    "short": Length(at_most=9),
    "classifier": TextClassifier(name="model", label="POSITIVE"),
    "rating": Column(column="rating", at_least=3),
}


def count_letters(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@pytest.mark.parametrize(
    ("keep", "shared", "unknown"),
    [
        ("praise & short", {"durable", "high-quality"}, ()),
        ("praise & ~blame", {"durable", "high-quality", "ugly"}, ()),
        ("sentiment", {"comfortable", "ugly", "horrible"}, ()),
        ("sentiment > 0.5 | pattern", {"comfortable", "ugly", "horrible", "breathable"}, ()),
        ("wildcard", {"breathable"}, ("wildcard",)),
        ("spelled", {"ugly", "durable"}, ("spelled",)),
        ("classifier & blame & rating", {"ugly"}, ("classifier", "rating")),
        ("short", set(), ()),
    ],
)
def test_the_overlap_covers_the_signals_that_the_expression_uses(
    keep: str, shared: set[str], unknown: tuple[str, ...]
) -> None:
    overlap = Filter(name="x", signals=SIGNALS, keep=keep).find_word_overlap(WORDS)
    assert overlap.shared_words == shared
    assert overlap.unknown_signals == unknown


def test_a_signal_that_drops_rows_without_a_score_always_counts() -> None:
    function = PythonFunction(function=count_letters, at_least=3, on_error="drop")
    filter_ = Filter(name="x", signals={**SIGNALS, "letters": function}, keep="praise")
    assert filter_.find_word_overlap(WORDS).unknown_signals == ("letters",)


def test_words_of_an_additional_lexicon_count(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("breathable\t2.0\n")
    signals = {"sentiment": VaderSentiment(lexicon=tmp_path / "more.txt")}
    assert "breathable" in Filter(name="x", signals=signals, keep="sentiment").find_word_overlap(WORDS).shared_words


def test_selections_without_a_filter_use_no_words_and_ablations_use_the_remaining_ones() -> None:
    filter_ = Filter(name="x", signals=SIGNALS, keep="praise & blame & sentiment")
    assert not Full().find_word_overlap(WORDS).shared_words
    assert not RandomMatched(of=filter_).find_word_overlap(WORDS).shared_words
    without = LeaveOneOut(of=filter_, signal="sentiment").find_word_overlap(WORDS)
    assert without.shared_words == {"durable", "high-quality", "ugly"}


@pytest.mark.parametrize(
    "pattern", [r"\b(?:good|great)(?:ly)?\b", "shoes?", r"high[- ]quality", "a.b", "good+", "(?!x)y"]
)
def test_only_patterns_without_wildcards_are_literal(pattern: str) -> None:
    assert Regex(pattern=pattern).knows_used_words is (pattern in (r"\b(?:good|great)(?:ly)?\b", "shoes?"))
