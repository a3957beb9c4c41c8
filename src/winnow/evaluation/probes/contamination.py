"""Find the prompts of a probe that the training data already contain, whatever words replace their masks."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.mask_predictions import MASK
from winnow.evaluation.probes.prompts import Cloze

MAX_WORDS_PER_MASK = 3
"""The maximum number of words that may replace a mask; a longer text is a different sentence."""

_IGNORED_ENDINGS = " .!?"


def find_contaminated_prompts(texts: pa.ChunkedArray, clozes: Iterable[Cloze]) -> set[str]:
    """Return the titles of the prompts that match a training text, with one to three words in place of the masks.

    Case, whitespace and final punctuation are ignored. All other prompts are held out: the training data do not contain
    their answer.

    Args:
        texts: The training texts before filtering, so that the result is the same for every arm.
        clozes: The prompts.

    >>> prompts = [Cloze(text, (), (), (), {}) for text in ("Nike is [MASK].", "we like [MASK] hats")]
    >>> find_contaminated_prompts(pa.chunked_array([["nike  is great", "we like hats"]]), prompts)
    {'Nike is [MASK].'}
    """
    normalized = pc.utf8_rtrim(_normalize(texts), characters=_IGNORED_ENDINGS)
    contaminated = set()
    for cloze in clozes:
        first, *_, last = MASK.split(cloze.text)
        before, after = " ".join(first.lower().split()), " ".join(last.lower().split()).rstrip(_IGNORED_ENDINGS)
        candidates = normalized.filter(pc.and_(pc.starts_with(normalized, before), pc.ends_with(normalized, after)))
        if any(_matches(text, before, after) for text in candidates.to_pylist()):
            contaminated |= {cloze.title(mask) for mask in range(1, cloze.mask_count + 1)}
    return contaminated


def _matches(text: str, before: str, after: str) -> bool:
    return 1 <= len(text[len(before) : len(text) - len(after)].split()) <= MAX_WORDS_PER_MASK


def _normalize(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+", " "))
