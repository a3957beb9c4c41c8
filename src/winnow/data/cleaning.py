"""Cleaning steps, and the text normalization used to test whether two texts are equal."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from enum import StrEnum

_DIGIT_PATTERN = re.compile(r"\d+")
_INNER_APOSTROPHE_PATTERN = re.compile(r"(?<=\w)['\u2019](?=\w)")


class CleaningStep(StrEnum):
    """A step that edits texts or drops rows. The cleaning steps of a dataset run in the listed order.

    Attributes:
        DROP_NULL: Drop rows that have no text. If this step is not listed, such rows raise an error. A row
            whose text is empty after all other steps is also dropped, regardless of where ``drop_null`` is listed.
        LOWER_CASE: Convert to lower case.
        STRIP_DIGITS: Remove decimal digits in any script.
        STRIP_PUNCTUATION: Remove apostrophes inside words (``don't`` becomes ``dont``), and replace all other
            punctuation and symbols, including emoji, with a space (``high-quality`` becomes ``high quality``).
        COLLAPSE_SPACE: Replace every run of whitespace with one space, and trim both ends.
    """

    DROP_NULL = "drop_null"
    LOWER_CASE = "lower_case"
    STRIP_DIGITS = "strip_digits"
    STRIP_PUNCTUATION = "strip_punctuation"
    COLLAPSE_SPACE = "collapse_space"


class _PunctuationToSpace(dict[int, str]):
    """A ``str.translate`` table that maps punctuation and symbols to spaces; entries are added on first use."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        # The pattern `[^\w\s]` would also remove combining marks, which are vowels in many scripts.
        self[code] = " " if unicodedata.category(character)[0] in "PS" else character
        return self[code]


_PUNCTUATION_TO_SPACE = _PunctuationToSpace()


def _collapse_space(text: str) -> str:
    return " ".join(text.split())


def _strip_digits(text: str) -> str:
    return _DIGIT_PATTERN.sub("", text)


def _strip_punctuation(text: str) -> str:
    return _INNER_APOSTROPHE_PATTERN.sub("", text).translate(_PUNCTUATION_TO_SPACE)


_EDIT_FUNCTIONS: dict[CleaningStep, Callable[[str], str]] = {
    CleaningStep.LOWER_CASE: str.lower,
    CleaningStep.STRIP_DIGITS: _strip_digits,
    CleaningStep.STRIP_PUNCTUATION: _strip_punctuation,
    CleaningStep.COLLAPSE_SPACE: _collapse_space,
}


def clean_texts(texts: Iterable[str | None], steps: Iterable[CleaningStep]) -> list[str | None]:
    """Apply the text-editing steps to each text. Texts that are empty or blank afterwards become ``None``.

    >>> clean_texts(["Air Max 90!", "1,234", None], [CleaningStep.STRIP_DIGITS, CleaningStep.STRIP_PUNCTUATION])
    ['Air Max  ', None, None]
    """
    edits = [_EDIT_FUNCTIONS[step] for step in steps if step in _EDIT_FUNCTIONS]

    def edit(text: str | None) -> str | None:
        if text is None:
            return None
        for step in edits:
            text = step(text)
        return None if not text or text.isspace() else text

    return [edit(text) for text in texts]


def normalize(text: str) -> str:
    r"""Return the normalized text. Two texts count as equal if their normalized texts are equal.

    Differences in Unicode compatibility forms, case and whitespace are removed.

    >>> normalize("  Nike\tSHOES ") == normalize("nike shoes")
    True
    """
    if not text.isascii():
        # Case folding can produce text that is not in NFKC form, so the result is normalized again.
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        return " ".join(text.split())
    return " ".join(text.lower().split())
