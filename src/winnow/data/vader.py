"""The VADER sentiment analyzer of filters and probes."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def load_vader_analyzer() -> Any:
    """Return NLTK's analyzer with the lexicon of the package vaderSentiment, which is identical to NLTK's.

    NLTK's constructor finds only lexicons that were downloaded with NLTK, so it is not called.
    """
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.lexicon_file = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").rstrip("\n")
    analyzer.lexicon = analyzer.make_lex_dict()
    analyzer.constants = VaderConstants()
    return analyzer
