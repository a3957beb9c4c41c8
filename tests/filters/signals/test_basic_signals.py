from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from winnow.data import Corpus, Dataset, Files, Split
from winnow.errors import WinnowError
from winnow.filters import Column, Filter, Length, Mentions, Regex


def test_a_regular_expression_counts_its_matches() -> None:
    signal = Regex(pattern=r"\b\d+%", at_least=2)
    scores = signal.score(["50% off", "50% and 20%", "none", None])
    assert scores.to_pylist() == [1, 2, 0, None]
    assert signal.keep(scores).to_pylist() == [False, True, False, None]
    texts = ["NIKE nike"]
    assert Regex(pattern="nike").score(texts).to_pylist() == [2]
    assert Regex(pattern="nike", ignore_case=False).score(texts).to_pylist() == [1]


def test_an_invalid_pattern_is_an_error_with_its_position() -> None:
    with pytest.raises(WinnowError, match=r"the regular expression is not valid: .*\n    a\(b\n     \^") as caught:
        Regex(pattern="a(b")
    assert caught.value.key == "pattern"


def test_a_length_in_tokens_excludes_special_tokens(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "nike": 1, "shoes": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path / "tokenizer")
    signal = Length(unit="tokens", tokenizer=str(tmp_path / "tokenizer"), at_least=3)
    scores = signal.score(["nike shoes", "nike, shoes", None])
    assert scores.to_pylist() == [2, 3, None]
    assert signal.keep(scores).to_pylist() == [False, True, None]
    before = signal.fingerprint()
    (tmp_path / "tokenizer" / "special_tokens_map.json").write_text("{}")
    assert signal.fingerprint() != before
    for wrong in ({"unit": "tokens"}, {"tokenizer": "x"}):
        with pytest.raises(WinnowError, match=r"expected (a tokenizer|null) for unit"):
            Length(at_least=1, **wrong)  # type: ignore[arg-type]
    with pytest.raises(WinnowError, match="cannot load the tokenizer"):
        Length(unit="tokens", tokenizer=str(tmp_path / "none"), at_least=1).score(["a"])


@pytest.fixture
def rated(tmp_path: Path) -> Corpus:
    rows = "".join(f"text {i},{i % 5 + 1},{'' if i % 7 == 0 else i / 2}\n" for i in range(90))
    (tmp_path / "rated.csv").write_text(f"text,stars,age\n{rows}")
    source = Files(path=tmp_path / "rated.csv", text=["text"], label="stars", columns={"age": "number"})
    return Dataset(name="rated", source=source, split=Split(0.2, 0.2)).load(tmp_path)


def test_a_column_next_to_the_text_is_a_signal(rated: Corpus, tmp_path: Path) -> None:
    signals = {"good": Column(column="label", at_least=4), "old": Column(column="age", at_least=10, at_most=30)}
    verdicts = Filter(name="x", signals=signals, keep="good & old").compute_verdicts(rated, tmp_path, progress=False)
    rows = verdicts.table.append_column("age", rated.table["age"]).append_column("stars", rated.table["label"])
    for row in rows.to_pylist():
        age = row["age"]
        assert row["keep"] is (row["stars"] >= 4 and age is not None and 10 <= age <= 30)
        assert row["old.keep"] is (None if age is None else 10 <= age <= 30)


def test_an_unknown_column_is_an_error(rated: Corpus, tmp_path: Path) -> None:
    filter_ = Filter(name="x", signals={"old": Column(column="aeg", at_least=4)}, keep="old")
    with pytest.raises(WinnowError, match=r"no column 'aeg'\. Did you mean 'age'") as caught:
        filter_.compute_verdicts(rated, tmp_path, progress=False)
    assert caught.value.key == "signals.old.column"


def test_changed_values_next_to_the_same_texts_are_scored_again(tmp_path: Path) -> None:
    def kept(shift: int) -> list[bool]:
        rows = "".join(f"text {i},{(i + shift) % 5}\n" for i in range(60))
        (tmp_path / "rated.csv").write_text(f"text,stars\n{rows}")
        source = Files(path=tmp_path / "rated.csv", text=["text"], label="stars")
        corpus = Dataset(name="rated", source=source, split=Split(0.2, 0.2)).load(tmp_path)
        filter_ = Filter(name="x", signals={"good": Column(column="label", at_least=3)}, keep="good")
        mask: list[bool] = filter_.compute_verdicts(corpus, tmp_path, progress=False).keep_mask().tolist()
        return mask

    assert kept(0)[:5] == [False, False, False, True, True]
    assert kept(1)[:5] == [False, False, True, True, False]


@pytest.mark.parametrize("build", [lambda: Regex(pattern=""), lambda: Column(column="x", at_leat=1)])
def test_invalid_values(build: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        build()


FRAGMENTS = [
    "shoe",
    "Shoes",
    "un",
    "high-quality",
    "high  quality",
    "high\u2011quality",
    "caf\u00e9",
    "\u017fhoe",
    "C++",
    "a.b",
    "\x1d",
    "\u0130",
    "STRASSE",
]
LISTS = [
    ["shoe", "shoes"],
    ["high-quality", "shoe"],
    ["caf\u00e9"],
    ["caf\u00e9", "shoe"],
    ["C++", "shoe"],
    ["a.b"],
    ["stra\u00dfe", "un shoe"],
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([*FRAGMENTS, " ", "-", "_", "\t", "\x0b"]), max_size=8).map("".join)
        | st.text()
        | st.none(),
        max_size=6,
    ),
    st.sampled_from(LISTS),
    st.booleans(),
)
def test_arrow_and_python_count_the_same_mentions(texts: list[str | None], words: list[str], whole_word: bool) -> None:
    signal = Mentions(words=words, whole_word=whole_word)
    values = pa.array(texts, pa.string())
    assert signal.score_array(values).equals(signal.score(texts))
    assert signal.score_array(values.slice(1)).equals(signal.score(texts[1:]))
