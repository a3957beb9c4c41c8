"""VADER sentiment, as NLTK computes it, several times faster."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache, reduce
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.data.fingerprint import fingerprint
from winnow.data.vader import vader_analyzer
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal

_REMOVE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_REMEMBERED = 2**15  # tokens, and words among their neighbours; above it, old ones are forgotten
_CHARGED, _NEUTRAL = "good", "table"  # stand for words of the lexicon, and for others, that no rule names
_PLAIN = frozenset({_CHARGED, _NEUTRAL})

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
        packages = {name: _version(name) for name in ("nltk", "vaderSentiment")}
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


_version = cache(version)  # looking it up takes as long as judging a hundred rows


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
    depends on the token alone, and the valence of a word on the parts that its neighbours play, so both are looked up
    where they were met before; and a text without a charged word needs no rules at all. The rules themselves are NLTK's
    own functions.

    Args:
        further: Words, in lower case, and valences that the lexicon is extended by.
    """
    analyzer = vader_analyzer()
    analyzer.lexicon.update(further)
    constants = analyzer.constants
    punctuation = frozenset(constants.PUNC_LIST)
    charged = frozenset(word for word in analyzer.lexicon if len(word) > 1 and word not in constants.BOOSTER_DICT)
    calm: set[str] = set()  # tokens of texts without a charged word
    valence = _valences(analyzer)

    @lru_cache(maxsize=_REMEMBERED)
    def stripped(token: str) -> str | None:
        """Return the token as NLTK reads it; None for a single character."""
        if len(token) < 2:
            return None
        if token.isalnum():
            return token
        word = token.translate(_REMOVE_PUNCTUATION)
        return word if 1 < len(word) < len(token) and _rest(token, word) in punctuation else token

    def compound(text: str) -> float:
        tokens = text.split()
        small = text.islower()
        if small and "".join(tokens).isalnum():  # nothing to strip
            if charged.isdisjoint(tokens):
                return 0.0
            words = lower = [token for token in tokens if len(token) > 1]
        else:
            if calm.issuperset(tokens):
                return 0.0
            words = [word for token in tokens if (word := stripped(token))]
            lower = words if small else list(map(str.lower, words))
            if charged.isdisjoint(lower):
                if len(calm) > _REMEMBERED:
                    calm.clear()
                calm.update(tokens)
                return 0.0
        differ = not small and 0 < sum(map(str.isupper, words)) < len(words)
        valences = [0.0] * len(words)
        for place, word in enumerate(lower):
            if word in charged:
                first = words.index(words[place])  # NLTK reads a repeated word where it first stands
                valences[place] = valence(words, lower, first, differ)
        if "but" in lower:
            valences = analyzer._but_check(words, valences)
        total = float(sum(valences))
        if total and ("!" in text or "?" in text):
            total += math.copysign(analyzer._punctuation_emphasis(total, text), total)
        return float(round(constants.normalize(total), 4))

    return compound


def _valences(analyzer: Any) -> Callable[[list[str], list[str], int, bool], float]:
    """Return a function to the valence of a charged word from words, these in lower case, its place, and ``differ``.

    NLTK's rules look at three words before it and two after. Where none of these is named by a rule, the lexicon tells.
    Most others play no part but that of a word in the lexicon or of one outside, and most charged words none but that
    of their valence, so few cases are left, and each is given to NLTK once. ``differ`` tells whether capitals stress.
    """
    lexicon, constants = analyzer.lexicon, analyzer.constants
    phrases = [phrase.split() for phrase in (*constants.BOOSTER_DICT, *constants.SPECIAL_CASE_IDIOMS)]
    alone = {words[0] for words in phrases if len(words) == 1} | constants.NEGATE | {"this", "least"}
    sayings = [frozenset(words) for words in phrases if len(words) > 1]
    together = frozenset().union(*sayings, {"at", "least"})
    named = alone | together
    examples = {
        value: word for word, value in lexicon.items() if word.isascii() and word.isalpha() and word not in named
    }

    @lru_cache(maxsize=_REMEMBERED)
    def says(words: frozenset[str]) -> bool:
        """Return whether some of the words may mean something together."""
        return any(words.issuperset(saying) for saying in sayings)

    @lru_cache(maxsize=_REMEMBERED)
    def part(word: str) -> str:
        lower = word.lower()
        return word if lower in named or "n't" in lower else plain(lower)

    @lru_cache(maxsize=_REMEMBERED)
    def example(word: str) -> str:
        """Return a word that any rule reads as this charged one: of its valence, and in capitals where it is."""
        lower = word.lower()
        if lower in named:
            return word
        other: str = examples.get(lexicon[lower], word)
        return other if other is word or not word.isupper() else other.upper()

    def plain(word: str) -> str:
        return _CHARGED if word in lexicon else _NEUTRAL

    @lru_cache(maxsize=_REMEMBERED)
    def case(word: str, before: tuple[str, ...], after: tuple[str, ...], capitals_differ: bool) -> float:
        around = [*before, *after]
        if around and _PLAIN.issuperset(around):
            return case(word, (), (), capitals_differ)
        lower = [one.lower() for one in around]
        if len(together.intersection([*lower, word.lower()])) == 1:
            # Words that mean something together are as any other where there is but one.
            simple = [plain(low) if low in together - alone else one for low, one in zip(lower, around, strict=True)]
            if simple != around:
                return case(word, tuple(simple[: len(before)]), tuple(simple[len(before) :]), capitals_differ)
        if word.lower() == "kind" and after and after[0].lower() == "of":
            return 0.0
        reading = SimpleNamespace(words_and_emoticons=[*before, word, *after], is_cap_diff=capitals_differ)
        return float(analyzer.sentiment_valence(0, reading, word, len(before), [])[0])

    def valence(words: list[str], lower: list[str], place: int, differ: bool) -> float:
        start = place - 3 if place > 3 else 0
        if alone.isdisjoint(lower[start:place]) and not (differ and words[place].isupper()):
            near = together.intersection(lower[start : place + 3])
            if (len(near) < 2 or not says(near)) and "n't" not in " ".join(lower[start:place]):
                return float(lexicon[lower[place]])
        before, after = words[start:place], words[place + 1 : place + 3]
        return case(example(words[place]), tuple(map(part, before)), tuple(map(part, after)), differ)

    return valence


def _rest(token: str, word: str) -> str:
    """Return what stands before or after ``word`` in ``token``; nothing where it stands on both sides."""
    if token.endswith(word):
        return token[: -len(word)]
    return token[len(word) :] if token.startswith(word) else ""
