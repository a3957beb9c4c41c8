"""Cleaning steps and the normal form by which two texts are the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from enum import StrEnum

_DIGITS = re.compile(r"\d+")
_APOSTROPHES = re.compile(r"(?<=\w)['\u2019](?=\w)")


class CleaningStep(StrEnum):
    """One step of cleaning; a dataset lists the steps in the order in which they run.

    Attributes:
        DROP_NULL: Drop rows without text. Without it such a row is an error, never the word "nan". A text
            that a step empties counts as null too, wherever ``drop_null`` stands in the list.
        LOWER_CASE: Lower the case.
        STRIP_DIGITS: Remove decimal digits of any script.
        STRIP_PUNCTUATION: Remove apostrophes inside words (``don't`` becomes ``dont``) and put a space in the
            place of all other punctuation and symbols, emoji among them (``high-quality`` becomes ``high
            quality``).
        COLLAPSE_SPACE: Make every run of white space one space and trim both ends.
    """

    DROP_NULL = "drop_null"
    LOWER_CASE = "lower_case"
    STRIP_DIGITS = "strip_digits"
    STRIP_PUNCTUATION = "strip_punctuation"
    COLLAPSE_SPACE = "collapse_space"


class _PunctuationToSpace(dict[int, str]):
    """A translation table that decides each character when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # Not `[^\w\s]`: that would tear off combining marks, which many scripts write their vowels with.
        self[code] = " " if unicodedata.category(character)[0] in "PS" else character
        return self[code]


_PUNCTUATION_TO_SPACE = _PunctuationToSpace()


def _collapse_space(text: str) -> str:
    return " ".join(text.split())


def _strip_digits(text: str) -> str:
    return _DIGITS.sub("", text)


def _strip_punctuation(text: str) -> str:
    return _APOSTROPHES.sub("", text).translate(_PUNCTUATION_TO_SPACE)


_EDITS: dict[CleaningStep, Callable[[str], str]] = {
    CleaningStep.LOWER_CASE: str.lower,
    CleaningStep.STRIP_DIGITS: _strip_digits,
    CleaningStep.STRIP_PUNCTUATION: _strip_punctuation,
    CleaningStep.COLLAPSE_SPACE: _collapse_space,
}


def clean(texts: Iterable[str | None], steps: Iterable[CleaningStep]) -> list[str | None]:
    """Run the text steps over ``texts``; a text that is empty afterwards is null.

    >>> clean(["Air Max 90!", "1,234", None], [CleaningStep.STRIP_DIGITS, CleaningStep.STRIP_PUNCTUATION])
    ['Air Max  ', None, None]
    """
    edits = [_EDITS[step] for step in steps if step in _EDITS]

    def edit(text: str | None) -> str | None:
        if text is None:
            return None
        for step in edits:
            text = step(text)
        return None if not text or text.isspace() else text

    return [edit(text) for text in texts]


def normalise(text: str) -> str:
    r"""Return the form by which two texts count as the same.

    Unicode compatibility forms, case and runs of white space make no difference.

    >>> normalise("  Nike\tSHOES ") == normalise("nike shoes")
    True
    """
    if not text.isascii():
        # Folding can undo the normal form, so it is restored.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return " ".join(text.split())
    return " ".join(text.lower().split())
