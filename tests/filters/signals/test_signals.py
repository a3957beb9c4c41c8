from __future__ import annotations

import json
import pickle
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.filters import (
    Column,
    Filter,
    Language,
    LeaveOneOut,
    Length,
    Mentions,
    NotNull,
    PythonFunction,
    Regex,
    Signal,
    VaderSentiment,
)


def kept(signal: Signal, *texts: str | None) -> list[bool | None]:
    verdicts: list[bool | None] = signal.keep(signal.score(list(texts))).to_pylist()
    return verdicts


def counts(words: list[str], *texts: str | None, whole_word: bool = True) -> list[float | None]:
    scores: list[float | None] = Mentions(words=words, whole_word=whole_word).score(list(texts)).to_pylist()
    return scores


def test_a_mention_is_a_whole_word_in_any_case() -> None:
    texts = ["fashionable", "Unfashionable!", "so FASHIONABLE.", "fashionables", "fashionable2", "_fashionable"]
    assert counts(["fashionable"], *texts) == [1, 0, 1, 0, 0, 0]


def test_letters_of_any_script_make_a_word() -> None:
    assert counts(["élan"], "Élan", "élané", "xélan", "straßélan") == [1, 0, 0, 0]
    assert counts(["STRASSE"], "die Straße") == [1]


def test_punctuation_ends_a_word() -> None:
    assert counts(["nike"], "Nike's", "(nike)", "nike-made", "@nike", "nike\n", "nike…") == [1] * 6


def test_a_phrase_matches_spaces_and_hyphens() -> None:
    texts = ["high-quality", "high quality", "high  -  quality", "high\u2011quality", "highquality", "high, quality"]
    assert counts(["high-quality"], *texts) == [1, 1, 1, 1, 0, 0]
    assert counts(["poor quality"], "Poor\nQuality", "poor-quality", "poor qualitys") == [1, 1, 0]


def test_mentions_do_not_overlap_and_the_longest_wins() -> None:
    words = ["shoes", "running shoes", "running"]
    assert counts(words, "running shoes", "shoes, running shoes and running", "none") == [1, 3, 0]


def test_words_with_symbols_match_literally() -> None:
    assert counts(["c++", "a.b"], "C++ and c", "axb", "a.b") == [1, 0, 1]


def test_substrings_match_anywhere_and_only_as_listed() -> None:
    assert counts(["fashionable"], "unfashionable", whole_word=False) == [1]
    assert counts(["user-friendly"], "user friendly", "a user-friendlyish", whole_word=False) == [0, 1]


@given(st.text("ab -\u00e9", max_size=12))
def test_substring_matching_equals_the_in_operator(text: str) -> None:
    assert kept(Mentions(words=["ab", "b a"], whole_word=False), text) == ["ab" in text or "b a" in text]


@given(st.lists(st.sampled_from(["shoes", "running", "gym wear", "caps", "unshoes", ",", "shoe"])))
def test_whole_word_matching_equals_membership(words: list[str]) -> None:
    expected = any(word in ("shoes", "caps") for word in words)
    assert kept(Mentions(words=["shoes", "caps"]), " ".join(words)) == [expected]


def test_a_blank_word_is_an_error() -> None:
    with pytest.raises(WinnowError, match="blank"):
        Mentions(words=["nike", " "])
    for words in ([], [""], "nike"):
        with pytest.raises(ValidationError):
            Mentions(words=words)  # type: ignore[arg-type]


def test_length_counts_characters_or_words() -> None:
    texts = ["", "née", " two  words\n", "👍🏽 ok", None]
    assert Length(at_least=1).score(texts).to_pylist() == [0, 3, 12, 5, None]
    assert Length(unit="words", at_least=1).score(texts).to_pylist() == [0, 1, 2, 2, None]


def test_length_bounds_are_inclusive() -> None:
    texts = ["a", "ab", "abc", "abcd", None]
    assert kept(Length(at_least=2, at_most=3), *texts) == [False, True, True, False, None]
    assert kept(Length(at_most=2), *texts) == [True, True, False, False, None]
    assert kept(Length(at_least=3), *texts) == [False, False, True, True, None]


@pytest.mark.parametrize("bounds", [{}, {"at_least": 3, "at_most": 2}])
def test_missing_or_swapped_bounds_are_an_error(bounds: dict[str, int]) -> None:
    with pytest.raises(WinnowError) as caught:
        Length(**bounds)  # type: ignore[arg-type]
    assert caught.value.key == "at_least"


def test_not_null_is_never_null() -> None:
    assert kept(NotNull(), "a", "", None) == [True, True, False]


ALL = [
    Mentions(words=["nike"]),
    Mentions(words=["n"], whole_word=False),
    Length(at_most=9),
    Length(unit="words", at_least=2),
    NotNull(),
    Regex(pattern="(pair|great)"),
    VaderSentiment(),
    VaderSentiment(bands=["negative", "positive"]),
    Language(languages=["en"]),
]


@pytest.mark.parametrize("signal", Signal.__subclasses__(), ids=lambda signal: signal.__name__)
def test_every_signal_has_a_cost_a_version_and_a_description(signal: type[Signal]) -> None:
    if signal.__module__.startswith("winnow."):
        assert signal.cost > 0
        assert signal.version >= 1
        assert "keeps" in (signal.__doc__ or "").lower() or signal is NotNull


@pytest.mark.parametrize("signal", ALL, ids=lambda signal: type(signal).__name__)
def test_the_contract_of_every_signal(signal: Signal) -> None:
    texts = ["Nike is great!", None, "", "an awful pair of shoes"]
    scores = signal.score(texts)
    assert scores.type == pa.float64()
    assert len(scores) == 4
    assert signal.score([]).type == pa.float64()
    # A score does not depend on the other texts of a batch.
    assert scores.to_pylist() == [signal.score([text])[0].as_py() for text in texts]
    assert isinstance(signal, NotNull) or signal.keep(scores)[1].as_py() is None
    copy = pickle.loads(pickle.dumps(signal))
    assert copy.fingerprint() == signal.fingerprint()
    assert len(pickle.dumps(signal)) < 1_000  # no model, no lexicon


def test_fingerprints_depend_on_settings_but_not_on_thresholds() -> None:
    assert VaderSentiment().fingerprint() == VaderSentiment(at_least=0.5).fingerprint()
    assert Length(at_most=3).fingerprint() == Length(at_least=9).fingerprint()
    assert Mentions(words=["a", "B"]).fingerprint() == Mentions(words=["b", "a"]).fingerprint()
    different: list[Any] = [
        Mentions(words=["a"]),
        Mentions(words=["a"], whole_word=False),
        Mentions(words=["b"]),
        Length(at_most=3),
        Length(unit="words", at_most=3),
        NotNull(),
        VaderSentiment(),
    ]
    assert len({signal.fingerprint() for signal in different}) == 7


def test_renamed_signals_keep_the_fingerprints_of_version_0_1() -> None:
    assert Column(column="label", at_least=4).fingerprint() == fingerprint("Field", 1, {"column": "label"})
    scorer = PythonFunction(function=json.dumps, at_least=1)
    assert scorer.fingerprint() == fingerprint("Python", 1, scorer.settings())
    assert Length(at_least=1).fingerprint() == fingerprint("Length", 1, Length(at_least=1).settings())
    filter_ = Filter(name="x", signals={"a": NotNull(), "b": Length(at_least=1)}, keep="a & b")
    reduced = LeaveOneOut(of=filter_, signal="a")
    assert reduced.fingerprint() == fingerprint("without", "a", filter_.fingerprint())
