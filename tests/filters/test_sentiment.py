"""VADER's compound against NLTK's own analyzer, loaded in NLTK's own way."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import nltk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.filters import VaderSentiment
from winnow.filters.sentiment import compound_scorer

LEXICON = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").splitlines()
CHARGED = [line.split("\t")[0] for line in LEXICON[:: len(LEXICON) // 300]]
RULES = [
    "not",
    "never",
    "isn't",
    "isnt",
    "least",
    "at",
    "very",
    "kind",
    "of",
    "sort",
    "so",
    "this",
    "without",
    "but",
    "BUT",
    "doubt",
    "hardly",
    "kinda",
    "shit",
    "bomb",
    "bad",
    "ass",
    "yeah",
    "right",
    "the",
    "great",
    "GREAT",
    "Good",
    "good",
    "awful",
    "ugly",
    "good?",
    "love:",
    "(bad)",
    "praised",
    "great...",
    "'nice'",
    '"fun"',
    "good-looking",
    "nice!!",
    "no.",
    "KIND",
    "less",
]
NEUTRAL = ["nike", "Shoes", "ÉTÉ", "ß", "ﬁne", "x", "I", "A1", "👍", "😊", "日本語", "İyi", "cafe\u0301", "\u200bgood"]
MARKS = [
    "",
    "!",
    "!!!",
    "!!!!!",
    "?",
    "??",
    "????",
    "?!?",
    ",",
    ".",
    "...",
    "—",
    "'",
    '"',
    ":)",
    ":-(",
    ":D",
    "<3",
    "-",
]


@pytest.fixture(scope="module")
def nltk_compound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], float]:
    from nltk.sentiment.vader import SentimentIntensityAnalyzer

    root = tmp_path_factory.mktemp("nltk")
    folder = root / "sentiment" / "vader_lexicon"
    folder.mkdir(parents=True)
    shutil.copy(str(files("vaderSentiment") / "vader_lexicon.txt"), folder / "vader_lexicon.txt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nltk.data, "path", [str(root)])
        analyzer = SentimentIntensityAnalyzer("sentiment/vader_lexicon/vader_lexicon.txt")
    return lambda text: analyzer.polarity_scores(text)["compound"]


tokens = st.builds(
    lambda before, word, upper, after: before + (word.upper() if upper else word) + after,
    st.sampled_from(MARKS),
    st.sampled_from(CHARGED + RULES * 3 + NEUTRAL),
    st.booleans(),
    st.sampled_from(MARKS),
)
spaces = st.sampled_from([" ", "  ", "\n", "\t", "\u00a0", "\u2003"])
sentences = st.lists(st.tuples(tokens, spaces), max_size=14).map(lambda pairs: "".join(a + b for a, b in pairs))


@settings(max_examples=1_500, deadline=None)
@given(sentences)
def test_equal_on_sentences_that_meet_the_rules(nltk_compound: Callable[[str], float], text: str) -> None:
    assert compound_scorer()(text) == nltk_compound(text)


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_equal_on_any_text(nltk_compound: Callable[[str], float], text: str) -> None:
    assert compound_scorer()(text) == nltk_compound(text)


@pytest.mark.parametrize(
    "text",
    [
        "VADER is smart, handsome, and funny!",
        "VADER is NOT smart, handsome, nor funny.",
        "The book was only kind of good.",
        "At least it isn't a horrible book.",
        "The plot was good, but the characters are uncompelling and the dialog is not great.",
        "Catch utf-8 emoji such as 💘 and 💋 and 😁",
        "Make sure you :) or :D today!",
        "the shit, the bomb, bad ass, yeah right",
        "good good GOOD not good",
        "are praised for being ugly",
        "",
        "   ",
        "!?!?",
    ],
)
def test_equal_on_known_hard_cases(nltk_compound: Callable[[str], float], text: str) -> None:
    assert compound_scorer()(text) == nltk_compound(text)


def test_equal_on_real_texts(nltk_compound: Callable[[str], float], shared_data: Path) -> None:
    texts = []
    for path in sorted(shared_data.rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            texts += [cell for row in csv.reader(stream) for cell in row if " " in cell][:1_500]
    assert len(texts) > 3_000
    assert VaderSentiment().score(texts).to_pylist() == [nltk_compound(text) for text in texts]


def test_keeps_from_the_bound_up() -> None:
    texts = ["a great shoe", "a shoe", "an awful shoe", None]
    signal = VaderSentiment()
    scores = signal.score(texts)
    assert signal.keep(scores).to_pylist() == [True, True, False, None]
    assert VaderSentiment(at_least=0.1).keep(scores).to_pylist() == [True, False, False, None]
