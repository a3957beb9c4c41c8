"""VADER sentiment, as NLTK computes it, several times faster."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.filters.signals import Signal

_REMOVE_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VaderSentiment(Signal):
    """VADER's compound score, from -1 (most negative) to 1 (most positive); keeps scores from a bound up.

    The rules are those of NLTK's analyzer (Hutto and Gilbert 2014), the lexicon is the one in the
    vaderSentiment wheel, which is the same file; nothing is downloaded. A text without a word of the lexicon
    scores 0.

    Attributes:
        at_least: The lowest compound score to keep.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 20.0

    at_least: Annotated[float, Field(ge=-1, le=1)] = 0.0

    def settings(self) -> dict[str, Any]:
        """Return the versions of the packages that hold rules and lexicon."""
        return {"nltk": version("nltk"), "vaderSentiment": version("vaderSentiment")}

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return compound scores; null for null."""
        compound = compound_scorer()
        return pa.array([None if text is None else compound(text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores that reach the bound."""
        return pc.greater_equal(scores, self.at_least)


@cache
def compound_scorer() -> Callable[[str], float]:
    """Return a function from text to compound score, equal to NLTK's on every text.

    NLTK builds two dictionaries for each text only to strip punctuation from its tokens. How a token is
    stripped depends on the token alone, so it is looked up here; and a text without a charged token needs no
    rules at all. The rules themselves are NLTK's own functions.
    """
    analyzer = _analyzer()
    lexicon, constants = analyzer.lexicon, analyzer.constants
    punctuation = frozenset(constants.PUNC_LIST)

    @lru_cache(maxsize=2**17)
    def stripped(token: str) -> tuple[str, bool] | None:
        """Return the token as NLTK reads it and whether the lexicon holds it; None for a single character."""
        if len(token) < 2:
            return None
        word = token.translate(_REMOVE_PUNCTUATION)
        if 1 < len(word) < len(token) and _rest(token, word) in punctuation:
            token = word
        return token, token.lower() in lexicon

    def compound(text: str) -> float:
        tokens = [found for token in text.split() if (found := stripped(token))]
        if not any(charged for _, charged in tokens):
            return 0.0
        words = [word for word, _ in tokens]
        valences = _valences(words, [charged for _, charged in tokens])
        return float(analyzer.score_valence(analyzer._but_check(words, valences), text)["compound"])

    def _valences(words: list[str], charged: list[bool]) -> list[float]:
        capitals = sum(word.isupper() for word in words)
        reading = SimpleNamespace(words_and_emoticons=words, is_cap_diff=0 < capitals < len(words))
        valences: list[float] = [0.0] * len(words)
        first: dict[str, int] = {}
        for place, word in enumerate(words):
            # NLTK reads a repeated word where it first stands.
            context = first.setdefault(word, place)
            if charged[place] and not _is_booster(words, context):
                valences[place] = analyzer.sentiment_valence(0, reading, word, context, [])[0]
        return valences

    def _is_booster(words: list[str], place: int) -> bool:
        word = words[place].lower()
        return word in constants.BOOSTER_DICT or (
            word == "kind" and place + 1 < len(words) and words[place + 1].lower() == "of"
        )

    return compound


def _rest(token: str, word: str) -> str:
    """Return what stands before or after ``word`` in ``token``; nothing where it stands on both sides."""
    if token.endswith(word):
        return token[: -len(word)]
    return token[len(word) :] if token.startswith(word) else ""


def _analyzer() -> Any:
    """Return NLTK's analyzer with the lexicon of the vaderSentiment wheel.

    NLTK's constructor looks for its lexicon among its own downloads only, so it is stepped around.
    """
    from nltk.sentiment.vader import SentimentIntensityAnalyzer, VaderConstants

    analyzer = SentimentIntensityAnalyzer.__new__(SentimentIntensityAnalyzer)
    analyzer.lexicon_file = (files("vaderSentiment") / "vader_lexicon.txt").read_text("utf-8").rstrip("\n")
    analyzer.lexicon = analyzer.make_lex_dict()
    analyzer.constants = VaderConstants()
    return analyzer
