"""A signal that identifies the language of a text."""

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
from winnow.filters.signals.signal import Signal, missing_package_errors


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Language(Signal):
    """Scores how likely a text is in one of the listed languages; keeps texts whose score is at least a threshold.

    The classifier is py3langid (based on Lui and Baldwin 2012), which includes a model for 97 languages. The score
    ranges from -1 to 1: the probability of the most likely listed language minus the probability of the most likely
    other language. Short texts are often misclassified.

    Attributes:
        languages: ISO 639 codes of the languages to keep, such as ``en``.
        at_least: The minimum score. With 0, the most likely language must be one of ``languages``.
    """

    version: ClassVar[int] = 1
    cost: ClassVar[float] = 100.0

    languages: Annotated[list[Annotated[str, Field(pattern="^[a-z]{2,3}$")]], Field(min_length=1)]
    at_least: Annotated[float, Field(ge=-1, le=1)] = 0.0

    def settings(self) -> dict[str, Any]:
        """Return the sorted languages and the version of py3langid."""
        return {"languages": sorted(set(self.languages)), "py3langid": version("py3langid")}

    def check(self) -> list[WinnowError]:
        """Return an error if py3langid is not installed, or one error for each unsupported language."""
        if errors := missing_package_errors("py3langid", "language"):
            return errors
        supported_languages = _load_identifier().labels
        return [
            WinnowError(
                f"the language '{code}' is not supported. Supported: {', '.join(sorted(supported_languages))}. Correct "
                "the code.",
                "languages",
            )
            for code in self.languages
            if code not in supported_languages
        ]

    def score(self, texts: Sequence[str | None]) -> pa.Array:
        """Return the scores; the score of a null text is null."""
        listed_languages = set(self.languages)
        scores: list[float | None] = []
        for text in texts:
            if text is None:
                scores.append(None)
                continue
            ranking = _load_identifier().rank(text)  # in descending order of probability
            best_listed_score = next(score for language, score in ranking if language in listed_languages)
            best_other_score = next(score for language, score in ranking if language not in listed_languages)
            scores.append(best_listed_score - best_other_score)
        return pa.array(scores, pa.float64())

    def keep(self, scores: pa.Array) -> pa.Array:
        """Keep scores that are at least ``at_least``."""
        return pc.greater_equal(scores, self.at_least)


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
