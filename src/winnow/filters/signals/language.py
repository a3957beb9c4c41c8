"""The language of a text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from winnow.errors import WinnowError
from winnow.filters.signals.signal import Signal, missing_package


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Language(Signal):
    """How much likelier the wanted languages are than the likeliest other one; keeps texts from a bound up.

    The identifier is py3langid (after Lui and Baldwin 2012), whose model of 97 languages comes with the package. The
    score is the probability of the likeliest wanted language less that of the likeliest other, from -1 to 1. Short
    texts are often mistaken.

    Attributes:
        languages: ISO 639 codes, such as ``en``.
        at_least: The lowest score to keep; at 0 a wanted language is the likeliest.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 100.0

    languages: Annotated[list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]], Field(min_length=1)]
    at_least: Annotated[float, Field(ge=-1, le=1)] = 0.0

    def settings(self) -> dict[str, Any]:
        """Return the languages, in no order, and the version of the identifier."""
        return {"languages": sorted(set(self.languages)), "py3langid": version("py3langid")}

    def check(self) -> list[WinnowError]:
        """Return a fault if the package is missing or does not know a language."""
        if faults := missing_package("py3langid", "language"):
            return faults
        known = _identifier().labels
        return [
            WinnowError(f"'{code}' is no language that can be told. Known are {', '.join(sorted(known))}.", "languages")
            for code in self.languages
            if code not in known
        ]

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the scores; null for null."""
        wanted = set(self.languages)
        scores: list[float | None] = []
        for text in texts:
            if text is None:
                scores.append(None)
                continue
            ranked = _identifier().rank(text)
            one = next(score for language, score in ranked if language in wanted)
            scores.append(one - next(score for language, score in ranked if language not in wanted))
        return pa.array(scores, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores that reach the bound."""
        return pc.greater_equal(scores, self.at_least)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
