"""Clean and normalize columns of texts. Arrow finds the texts that change, so only these become Python strings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from winnow.data.cleaning import CleaningStep, clean_texts, normalize

WHITESPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that ``str.isspace``, ``str.split`` and ``str.strip`` treat as whitespace, which Arrow's set lacks."""

_BLANK_PATTERN = f"^[{WHITESPACE}]+$"
_NON_ASCII_PATTERN = r"[^\x00-\x7f]"
_UNEVEN_SPACE_PATTERN = f"^ |  | $|[{WHITESPACE.replace(' ', '')}]"

_CHANGE_PATTERNS = {
    CleaningStep.LOWER_CASE: f"[A-Z]|{_NON_ASCII_PATTERN}",
    CleaningStep.STRIP_DIGITS: f"[0-9]|{_NON_ASCII_PATTERN}",
    CleaningStep.STRIP_PUNCTUATION: rf"[!-/:-@\[-`{{-~]|{_NON_ASCII_PATTERN}",
    CleaningStep.COLLAPSE_SPACE: _UNEVEN_SPACE_PATTERN,
}
"""A pattern for each editing step, which matches every text that the step changes."""


def are_blank(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whether each text consists of whitespace only; null for a null text and false for an empty text."""
    return pc.match_substring_regex(texts, _BLANK_PATTERN)


def clean_text_column(texts: pa.ChunkedArray, steps: Iterable[CleaningStep]) -> pa.ChunkedArray:
    """Apply :func:`winnow.data.cleaning.clean_texts` to a column of strings."""
    steps = list(steps)
    pattern = "|".join(_CHANGE_PATTERNS[step] for step in steps if step in _CHANGE_PATTERNS)
    if pattern:
        chunks = [
            _replace_matching(chunk, chunk, pattern, lambda changed: clean_texts(changed, steps))
            for chunk in texts.chunks
        ]
        texts = pa.chunked_array(chunks, texts.type)
    is_missing = pc.or_(pc.equal(texts, ""), are_blank(texts))
    return pc.if_else(is_missing, None, texts) if pc.any(is_missing).as_py() else texts


def normalize_column(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Apply :func:`winnow.data.cleaning.normalize` to a column of strings without nulls."""
    pattern = f"{_NON_ASCII_PATTERN}|{_UNEVEN_SPACE_PATTERN}"
    chunks = [
        _replace_matching(pc.ascii_lower(chunk), chunk, pattern, lambda changed: list(map(normalize, changed)))
        for chunk in texts.chunks
    ]
    return pa.chunked_array(chunks, texts.type)


def _replace_matching(
    texts: pa.Array, originals: pa.Array, pattern: str, edit: Callable[[list[str]], Sequence[str | None]]
) -> pa.Array:
    """Replace each text whose original matches a pattern with the edited original."""
    is_matching = pc.fill_null(pc.match_substring_regex(originals, pattern), False)
    if not pc.any(is_matching).as_py():
        return texts
    edited = edit(originals.filter(is_matching).to_pylist())
    return pc.replace_with_mask(texts, is_matching, pa.array(edited, texts.type))
