from __future__ import annotations

from pathlib import Path
from typing import Any

from fixtures.small_corpus import CorpusOf
from winnow.filters import Duplicate, Filter, Language

WORDS = "the quick brown fox jumps over the lazy dog while seven old sailors sing a very long song about far away seas"


def test_a_text_similar_to_an_earlier_one_is_dropped() -> None:
    texts = [WORDS, "something else altogether", WORDS.upper() + "!", None, WORDS.replace("dog", "cat"), WORDS[:30]]
    signal = Duplicate(threshold=0.6, words=2)
    scores = signal.score(texts)
    assert signal.keep(scores).to_pylist() == [True, True, False, None, False, True]
    assert scores[0].as_py() == 0.0
    # 21 bigrams; a changed word changes two of them, added punctuation one.
    assert abs(scores[4].as_py() - 19 / 23) < 0.1


def test_texts_are_compared_with_kept_texts_only() -> None:
    words = WORDS.split()
    chain = [" ".join(words[i:] + [f"new{j}" for j in range(i)]) for i in (0, 3, 6, 9, 12)]
    kept = Duplicate(threshold=0.6, words=1).keep(Duplicate(threshold=0.6, words=1).score(chain)).to_pylist()
    assert kept[:2] == [True, False]
    assert kept.count(True) == 2 or kept.count(True) == 3


def test_all_rows_are_compared(corpus_of: CorpusOf, tmp_path: Path) -> None:
    texts = [WORDS, *(f"row {i} with words of its own {i * i} and {i * 7}" for i in range(4_000)), WORDS + " again"]
    signals: dict[str, Any] = {"copy": Duplicate(threshold=0.7)}
    verdicts = Filter(name="x", signals=signals, keep="copy").compute_verdicts(
        corpus_of([*texts, "y", "z"]), tmp_path, progress=False
    )
    assert verdicts.reasons().to_pylist()[4_001] == ["copy"]


def test_languages_are_detected() -> None:
    texts = [
        "The shoes fit well and they are very comfortable.",
        "Die Schuhe passen gut und sie sind sehr bequem.",
        "Les chaussures sont très confortables et légères.",
        None,
    ]
    english = Language(languages=["en"])
    assert english.keep(english.score(texts)).to_pylist() == [True, False, False, None]
    both = Language(languages=["de", "en"])
    assert both.keep(both.score(texts)).to_pylist() == [True, True, False, None]
    assert both.fingerprint() == Language(languages=["en", "de"]).fingerprint()
    assert both.check() == []
    [error] = Language(languages=["xx"]).check()
    assert "'xx' is not supported" in error.message
