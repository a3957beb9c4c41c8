"""VADER sentiment, as NLTK computes it, several times faster."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, reduce
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.errors import WinnowError
from winnow.filters.signals import Signal

_REMOVE_PUNCTUATION = str.maketrans("", "", string.punctuation)


Band = Literal["negative", "neutral", "positive"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VaderSentiment(Signal):
    """VADER's compound score, from -1 (most negative) to 1 (most positive); keeps scores from a bound up, or bands.

    The rules are those of NLTK's analyzer (Hutto and Gilbert 2014), the lexicon is the one in the
    vaderSentiment wheel, which is the same file; nothing is downloaded. A text without a word of the lexicon
    scores 0.

    Attributes:
        at_least: The lowest compound score to keep.
        bands: Instead of ``at_least``, which of three bands to keep.
        edge: Where the bands meet: up to ``-edge`` is negative, from ``edge`` on positive, what lies between neutral.
        lexicon: A file of further words of your domain, in the format of VADER's own: on each line a word, a tab and
            its valence from -4 to 4. It may give words of the lexicon another valence.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 20.0

    at_least: Annotated[float, Field(ge=-1, le=1)] = 0.0
    bands: Annotated[list[Band], Field(min_length=1)] | None = None
    edge: Annotated[float, Field(gt=0, le=1)] = 0.05
    lexicon: Path | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and self.at_least:
            raise WinnowError("Give `at_least` or `bands`, not both.", key="bands")

    def settings(self) -> dict[str, Any]:
        """Return the versions of the packages that hold rules and lexicon, and the content of the further lexicon."""
        packages = {"nltk": version("nltk"), "vaderSentiment": version("vaderSentiment")}
        return {**packages, "lexicon": self.lexicon and fingerprint(read_lexicon(self.lexicon))}

    def check(self) -> list[WinnowError]:
        """Return a fault if the further lexicon is not there or is none."""
        try:
            self.settings()
        except WinnowError as fault:
            return [fault]
        return []

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return compound scores; null for null."""
        compound = compound_scorer(read_lexicon(self.lexicon) if self.lexicon else ())
        return pa.array([None if text is None else compound(text) for text in texts], pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores that reach the bound or lie in one of the bands."""
        if self.bands is None:
            return pc.greater_equal(scores, self.at_least)
        low, high = pc.less_equal(scores, -self.edge), pc.greater_equal(scores, self.edge)
        inside = {"negative": low, "positive": high, "neutral": pc.invert(pc.or_kleene(low, high))}
        return reduce(pc.or_kleene, (inside[band] for band in self.bands))


def read_lexicon(path: Path) -> tuple[tuple[str, float], ...]:
    """Return the words of a lexicon file, in lower case, and their valences.

    Raises:
        WinnowError: It is not there, or a line of it is no entry.
    """
    try:
        lines = path.expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise WinnowError(f"Cannot read the lexicon {path}: {fault}.", key="lexicon") from fault
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, _, rest = line.partition("\t")
        with suppress(ValueError):
            valence = float(rest.split("\t")[0])
            if word and not any(character.isspace() for character in word) and abs(valence) <= 4:
                entries.append((word.lower(), valence))
                continue
        raise WinnowError(
            f"Line {number} of {path} is no entry of a lexicon: {line!r:.60}. It must be one word, a tab and a valence "
            "from -4 to 4.",
            key="lexicon",
        )
    if not entries:
        raise WinnowError(f"The lexicon {path} holds no words.", key="lexicon")
    return tuple(entries)


@lru_cache(maxsize=4)
def compound_scorer(further: tuple[tuple[str, float], ...] = ()) -> Callable[[str], float]:
    """Return a function from text to compound score, equal to NLTK's on every text.

    NLTK builds two dictionaries for each text only to strip punctuation from its tokens. How a token is stripped
    depends on the token alone and the valence of a word on its neighbours, so both are looked up where they were met
    before; and a text without a charged token needs no rules at all. The rules themselves are NLTK's own functions.

    Args:
        further: Words, in lower case, and valences that the lexicon is extended by.
    """
    analyzer = _analyzer()
    analyzer.lexicon.update(further)
    lexicon, constants = analyzer.lexicon, analyzer.constants
    punctuation = frozenset(constants.PUNC_LIST)

    @lru_cache(maxsize=2**17)
    def stripped(token: str) -> tuple[str, bool] | None:
        """Return the token as NLTK reads it and whether it bears a valence; None for a single character."""
        if len(token) < 2:
            return None
        word = token.translate(_REMOVE_PUNCTUATION)
        if 1 < len(word) < len(token) and _rest(token, word) in punctuation:
            token = word
        word = token.lower()
        return token, word in lexicon and word not in constants.BOOSTER_DICT

    @lru_cache(maxsize=2**15)
    def valence(window: tuple[str, ...], place: int, capitals_differ: bool) -> float:
        """Return the valence of one word of a window; NLTK's rules look three words back and two ahead."""
        if window[place].lower() == "kind" and place + 1 < len(window) and window[place + 1].lower() == "of":
            return 0.0
        reading = SimpleNamespace(words_and_emoticons=window, is_cap_diff=capitals_differ)
        return float(analyzer.sentiment_valence(0, reading, window[place], place, [])[0])

    def compound(text: str) -> float:
        tokens = [found for token in text.split() if (found := stripped(token))]
        places = [place for place, (_, charged) in enumerate(tokens) if charged]
        if not places:
            return 0.0
        words = [word for word, _ in tokens]
        differ = 0 < sum(map(str.isupper, words)) < len(words)
        valences = [0.0] * len(words)
        for place in places:
            first = words.index(words[place])  # NLTK reads a repeated word where it first stands
            start = max(0, first - 3)
            valences[place] = valence(tuple(words[start : first + 3]), first - start, differ)
        if "but" in text.lower():
            valences = analyzer._but_check(words, valences)
        total = float(sum(valences))
        if total:
            total += math.copysign(analyzer._punctuation_emphasis(total, text), total)
        return float(round(constants.normalize(total), 4))

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
