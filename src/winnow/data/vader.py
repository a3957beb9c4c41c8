"""VADER's analyzer, which filters and probes read sentiment with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def vader_analyzer() -> Any:
    """Return NLTK's analyzer with the lexicon of the vaderSentiment wheel, which is the same file as its own.

    NLTK's constructor looks for its lexicon among its own downloads only, so it is stepped around.
    """
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.lexicon_file = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").rstrip("\n")
    analyzer.lexicon = analyzer.make_lex_dict()
    analyzer.constants = VaderConstants()
    return analyzer
