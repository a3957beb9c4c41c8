"""VADER's compound score compared with that of NLTK's analyzer."""

from __future__ import annotations

import csv
import pickle
import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import nltk
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import WinnowError
from winnow.filters import Filter, VaderSentiment
from winnow.filters.signals.vader_sentiment import build_compound_scorer

LEXICON = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").splitlines()
LEXICON_WORDS = [line.split("\t")[0] for line in LEXICON[:: len(LEXICON) // 300]]
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
    "But",
    "cut",
    "mustard",
    "kiss",
    "death",
    "hand",
    "to",
    "mouth",
    "just",
    "enough",
    "Most",
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
    st.sampled_from(LEXICON_WORDS + RULES * 3 + NEUTRAL),
    st.booleans(),
    st.sampled_from(MARKS),
)
spaces = st.sampled_from([" ", "  ", "\n", "\t", "\u00a0", "\u2003"])
sentences = st.lists(st.tuples(tokens, spaces), max_size=14).map(lambda pairs: "".join(a + b for a, b in pairs))


@pytest.mark.slow
@settings(max_examples=1_500, deadline=None)
@given(sentences)
def test_equal_on_sentences_that_trigger_the_rules(nltk_compound: Callable[[str], float], text: str) -> None:
    assert build_compound_scorer()(text) == nltk_compound(text)


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_equal_on_any_text(nltk_compound: Callable[[str], float], text: str) -> None:
    assert build_compound_scorer()(text) == nltk_compound(text)


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
    assert build_compound_scorer()(text) == nltk_compound(text)


def test_equal_on_real_texts(nltk_compound: Callable[[str], float], shared_data: Path) -> None:
    texts = []
    for path in sorted(shared_data.rglob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            texts += [cell for row in csv.reader(stream) for cell in row if " " in cell][:1_500]
    assert len(texts) > 3_000
    assert VaderSentiment().score(texts).to_pylist() == [nltk_compound(text) for text in texts]


def test_keeps_scores_above_the_threshold() -> None:
    texts = ["a great shoe", "a shoe", "an awful shoe", None]
    signal = VaderSentiment()
    scores = signal.score(texts)
    assert signal.keep(scores).to_pylist() == [True, True, False, None]
    assert VaderSentiment(at_least=0.1).keep(scores).to_pylist() == [True, False, False, None]


def test_bands_divide_the_scores_into_three() -> None:
    scores = pa.array([-1, -0.05, -0.04, 0, 0.04, 0.05, 1, None], pa.float64())
    kept = {band: VaderSentiment(bands=[band]).keep(scores).to_pylist() for band in ("negative", "neutral", "positive")}
    assert kept["negative"] == [True, True, False, False, False, False, False, None]
    assert kept["positive"] == [False, False, False, False, False, True, True, None]
    assert [sum(one) for one in zip(*(column[:-1] for column in kept.values()), strict=True)] == [1] * 7
    assert VaderSentiment(bands=["neutral", "positive"], edge=0.5).keep(scores).to_pylist()[:2] == [False, True]
    with pytest.raises(WinnowError, match="got both"):
        VaderSentiment(at_least=0.3, bands=["positive"])


def test_a_custom_lexicon_extends_the_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "shoes.txt"
    path.write_text("durable\t2.5\t0.5\t[2, 3]\nOverpriced\t-2\n\ngreat\t-3\n")
    texts = ["durable shoes", "OVERPRICED", "not durable!", "great", "plain"]
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.constants = VaderConstants()
    analyzer.lexicon_file = "\n".join(LEXICON)
    analyzer.lexicon = analyzer.make_lex_dict() | {"durable": 2.5, "overpriced": -2.0, "great": -3.0}
    signal = VaderSentiment(lexicon=path)
    assert signal.score(texts).to_pylist() == [analyzer.polarity_scores(text)["compound"] for text in texts]
    assert VaderSentiment().score(texts).to_pylist()[:2] == [0.0, 0.0]  # the other scorer is unchanged
    assert signal.check() == []
    before = signal.fingerprint()
    assert before != VaderSentiment().fingerprint()
    path.write_text("durable\t1\n")
    assert signal.fingerprint() != before
    assert len(pickle.dumps(signal)) < 1_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("durable\t2\nword\n", "line 2 of .*got 'word'"),
        ("durable\tgood\n", "expected a word, a tab and a valence .* line 1 "),
        ("durable\t7\n", "expected a word, a tab and a valence .* line 1 "),
        ("very durable\t2\n", "expected a word, a tab and a valence .* line 1 "),
        ("\n", "got an empty file"),
        (None, "cannot read"),
    ],
)
def test_an_invalid_lexicon_is_an_error_of_check(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "lexicon.txt"
    if content is not None:
        path.write_text(content)
    [error] = Filter(name="x", signals={"s": VaderSentiment(lexicon=path)}, keep="s").check()
    assert error.key == "signals.s.lexicon"
    assert re.search(message, error.message)
