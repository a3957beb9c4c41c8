"""A signal for VADER sentiment: the same scores as NLTK's analyzer, computed several times faster."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Iterable, Sequence
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
from winnow.data.vader import load_vader_analyzer
from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal

_REMOVE_PUNCTUATION = str.maketrans("", "", string.punctuation)
_MAX_CACHE_ENTRIES = 2**15  # the maximum number of entries in each cache
_LEXICON_WORD, _NEUTRAL_WORD = "good", "table"  # placeholders for words in the lexicon and for other words
_ORDINARY_WORDS = frozenset({_LEXICON_WORD, _NEUTRAL_WORD})

SentimentBand = Literal["negative", "neutral", "positive"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class VaderSentiment(Signal):
    """Computes VADER's compound score, from -1 (negative) to 1 (positive).

    Keeps texts whose score is at least a threshold or falls in one of the given bands. The rules are the same as in
    NLTK's analyzer (Hutto and Gilbert 2014). The lexicon is included in the vaderSentiment package and is identical to
    NLTK's lexicon, so nothing is downloaded. A text with no words from the lexicon scores 0.

    Attributes:
        at_least: The minimum compound score.
        bands: The bands to keep, as an alternative to ``at_least``.
        edge: The boundary between the bands: scores of at most ``-edge`` are negative, scores of at least ``edge`` are
            positive, and scores in between are neutral.
        lexicon: A file with additional words in the format of VADER's lexicon: one word per line, followed by a tab and
            a valence from -4 to 4. An entry for a word in VADER's lexicon replaces the word's valence.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 20.0

    at_least: Annotated[float, Field(ge=-1, le=1)] = 0.0
    bands: Annotated[list[SentimentBand], Field(min_length=1)] | None = None
    edge: Annotated[float, Field(gt=0, le=1)] = 0.05
    lexicon: Path | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and self.at_least:
            raise WinnowError("expected `at_least` or `bands`, got both. Remove one of them.", key="bands")

    def settings(self) -> dict[str, Any]:
        """Return the versions of NLTK and vaderSentiment, and a hash of the additional words."""
        packages = {name: _get_package_version(name) for name in ("nltk", "vaderSentiment")}
        return {**packages, "lexicon": self.lexicon and fingerprint(read_lexicon(self.lexicon))}

    def check(self) -> list[WinnowError]:
        """Return an error if the file of additional words is missing or invalid."""
        try:
            self.settings()
        except WinnowError as error:
            return [error]
        return []

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the compound scores; the score of a null text is null."""
        compound = build_compound_scorer(read_lexicon(self.lexicon) if self.lexicon else ())
        return pa.array([None if text is None else compound(text) for text in texts], pa.float64())

    @property
    def knows_used_words(self) -> bool:
        """True, because all words are listed in the lexicon."""
        return True

    def find_used_words(self, words: Iterable[str]) -> set[str]:
        """Return the words that have a sentiment, which are the words of the lexicon."""
        compound = build_compound_scorer(read_lexicon(self.lexicon) if self.lexicon else ())
        return {word for word in words if compound(word)}

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores that are at least ``at_least`` or fall in one of the bands."""
        if self.bands is None:
            return pc.greater_equal(scores, self.at_least)
        low, high = pc.less_equal(scores, -self.edge), pc.greater_equal(scores, self.edge)
        inside = {"negative": low, "positive": high, "neutral": pc.invert(pc.or_kleene(low, high))}
        return reduce(pc.or_kleene, (inside[band] for band in self.bands))


_get_package_version = cache(version)  # cached because a lookup takes as long as scoring a hundred rows


def read_lexicon(path: Path) -> tuple[tuple[str, float], ...]:
    """Read the words in a lexicon file, converted to lower case, and their valences.

    Raises:
        WinnowError: If the file is missing or empty, or if a line is not a valid entry.
    """
    try:
        lines = path.expanduser().read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise WinnowError(f"cannot read {path}: {error}. Pass the path of a UTF-8 text file.", key="lexicon") from error
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, _, columns = line.partition("\t")
        with suppress(ValueError):
            valence = float(columns.split("\t")[0])
            if word and not any(character.isspace() for character in word) and abs(valence) <= 4:
                entries.append((word.lower(), valence))
                continue
        raise WinnowError(
            f"expected a word, a tab and a valence from -4 to 4 on line {number} of {path}, got {line!r:.60}. Correct "
            "the line.",
            key="lexicon",
        )
    if not entries:
        raise WinnowError(
            f"expected at least one word in {path}, got an empty file. Add words, or remove `lexicon`.", key="lexicon"
        )
    return tuple(entries)


@lru_cache(maxsize=4)
def build_compound_scorer(additional_words: tuple[tuple[str, float], ...] = ()) -> Callable[[str], float]:
    """Return a function that computes the compound score of a text, with the same result as NLTK.

    NLTK builds two dictionaries for each text just to strip punctuation from tokens. Here, stripped tokens are cached.
    Valences are also cached, because a word's valence depends only on the word and the role of its neighbors. The rules
    are applied by calling NLTK's functions, except for a text with no words from the lexicon.

    Args:
        additional_words: Words to add to the lexicon, in lower case, with their valences.
    """
    analyzer = load_vader_analyzer()
    analyzer.lexicon.update(additional_words)
    constants = analyzer.constants
    punctuation = frozenset(constants.PUNC_LIST)
    lexicon_words = frozenset(word for word in analyzer.lexicon if len(word) > 1 and word not in constants.BOOSTER_DICT)
    neutral_tokens: set[str] = set()  # tokens from texts with no words from the lexicon
    valence = _build_valence_function(analyzer)

    @lru_cache(maxsize=_MAX_CACHE_ENTRIES)
    def strip_punctuation(token: str) -> str | None:
        """Return the token without punctuation, as in NLTK, or None if the token is a single character."""
        if len(token) < 2:
            return None
        if token.isalnum():
            return token
        word = token.translate(_REMOVE_PUNCTUATION)
        return word if 1 < len(word) < len(token) and _find_affix(token, word) in punctuation else token

    def compound(text: str) -> float:
        tokens = text.split()
        is_lower = text.islower()
        if is_lower and "".join(tokens).isalnum():  # no punctuation to strip
            if lexicon_words.isdisjoint(tokens):
                return 0.0
            words = lower = [token for token in tokens if len(token) > 1]
        else:
            if neutral_tokens.issuperset(tokens):
                return 0.0
            words = [word for token in tokens if (word := strip_punctuation(token))]
            lower = words if is_lower else list(map(str.lower, words))
            if lexicon_words.isdisjoint(lower):
                if len(neutral_tokens) > _MAX_CACHE_ENTRIES:
                    neutral_tokens.clear()
                neutral_tokens.update(tokens)
                return 0.0
        mixed_case = not is_lower and 0 < sum(map(str.isupper, words)) < len(words)
        valences = [0.0] * len(words)
        for index, word in enumerate(lower):
            if word in lexicon_words:
                first = words.index(words[index])  # NLTK scores a repeated word at its first position
                valences[index] = valence(words, lower, first, mixed_case)
        if "but" in lower:
            valences = analyzer._but_check(words, valences)
        total = float(sum(valences))
        if total and ("!" in text or "?" in text):
            total += math.copysign(analyzer._punctuation_emphasis(total, text), total)
        return float(round(constants.normalize(total), 4))

    return compound


def _build_valence_function(analyzer: Any) -> Callable[[list[str], list[str], int, bool], float]:
    """Return a function that computes the valence of a word from the lexicon in the context of a text.

    The arguments of the function are the words of the text, the same words in lower case, the index of the word, and
    whether the text mixes upper and lower case. In mixed-case text, a word in capitals is emphasized.

    NLTK's rules depend on the three words before the scored word and the two words after it. If no rule applies to any
    of these neighbors, the valence is taken from the lexicon. If a rule applies, only two properties matter for most
    words: whether a neighbor is in the lexicon, and the valence of the scored word. Each word is therefore replaced
    with a representative word that has the same property. Few distinct cases remain, and NLTK computes each case once.
    """
    lexicon, constants = analyzer.lexicon, analyzer.constants
    phrases = [phrase.split() for phrase in (*constants.BOOSTER_DICT, *constants.SPECIAL_CASE_IDIOMS)]
    single_words = {words[0] for words in phrases if len(words) == 1} | constants.NEGATE | {"this", "least"}
    multiword = [frozenset(words) for words in phrases if len(words) > 1]
    phrase_words = frozenset().union(*multiword, {"at", "least"})
    rule_words = single_words | phrase_words
    representatives = {
        value: word for word, value in lexicon.items() if word.isascii() and word.isalpha() and word not in rule_words
    }

    @lru_cache(maxsize=_MAX_CACHE_ENTRIES)
    def may_form_phrase(words: frozenset[str]) -> bool:
        """Return whether the words include all words of any multi-word phrase."""
        return any(words.issuperset(phrase) for phrase in multiword)

    @lru_cache(maxsize=_MAX_CACHE_ENTRIES)
    def represent_neighbor(word: str) -> str:
        """Return the representative of a neighbor of the scored word."""
        lower = word.lower()
        return word if lower in rule_words or "n't" in lower else represent_ordinary_word(lower)

    @lru_cache(maxsize=_MAX_CACHE_ENTRIES)
    def represent_scored_word(word: str) -> str:
        """Return a word from the lexicon that has the same valence and case and is subject to the same rules."""
        lower = word.lower()
        if lower in rule_words:
            return word
        same_valence: str = representatives.get(lexicon[lower], word)
        return same_valence if same_valence is word or not word.isupper() else same_valence.upper()

    def represent_ordinary_word(word: str) -> str:
        return _LEXICON_WORD if word in lexicon else _NEUTRAL_WORD

    @lru_cache(maxsize=_MAX_CACHE_ENTRIES)
    def compute(word: str, before: tuple[str, ...], after: tuple[str, ...], mixed_case: bool) -> float:
        around = [*before, *after]
        if around and _ORDINARY_WORDS.issuperset(around):
            return compute(word, (), (), mixed_case)
        lower = [item.lower() for item in around]
        if len(phrase_words.intersection([*lower, word.lower()])) == 1:
            # A word from a phrase has no special meaning unless the other words of the phrase are also present.
            simple = [
                represent_ordinary_word(low) if low in phrase_words - single_words else original
                for low, original in zip(lower, around, strict=True)
            ]
            if simple != around:
                return compute(word, tuple(simple[: len(before)]), tuple(simple[len(before) :]), mixed_case)
        if word.lower() == "kind" and after and after[0].lower() == "of":
            return 0.0
        context = SimpleNamespace(words_and_emoticons=[*before, word, *after], is_cap_diff=mixed_case)
        return float(analyzer.sentiment_valence(0, context, word, len(before), [])[0])

    def valence(words: list[str], lower: list[str], index: int, mixed_case: bool) -> float:
        start = index - 3 if index > 3 else 0
        if single_words.isdisjoint(lower[start:index]) and not (mixed_case and words[index].isupper()):
            nearby_phrase_words = phrase_words.intersection(lower[start : index + 3])
            if (len(nearby_phrase_words) < 2 or not may_form_phrase(nearby_phrase_words)) and "n't" not in " ".join(
                lower[start:index]
            ):
                return float(lexicon[lower[index]])
        before, after = words[start:index], words[index + 1 : index + 3]
        return compute(
            represent_scored_word(words[index]),
            tuple(map(represent_neighbor, before)),
            tuple(map(represent_neighbor, after)),
            mixed_case,
        )

    return valence


def _find_affix(token: str, word: str) -> str:
    """Return the prefix or suffix that ``token`` adds to ``word``, or an empty string if ``token`` adds both."""
    if token.endswith(word):
        return token[: -len(word)]
    return token[len(word) :] if token.startswith(word) else ""
