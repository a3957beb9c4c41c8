"""Load the VADER sentiment analyzer that filters and probes use."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def load_vader_analyzer() -> Any:
    """Return NLTK's analyzer with the lexicon from the vaderSentiment package, which is identical to NLTK's lexicon.

    NLTK's constructor is bypassed because it finds only lexicons that were downloaded with NLTK.
    """
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.lexicon_file = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").rstrip("\n")
    analyzer.lexicon = analyzer.make_lex_dict()
    analyzer.constants = VaderConstants()
    return analyzer
