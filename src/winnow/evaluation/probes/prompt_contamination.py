"""Find the prompts of a probe that occur in the training data, with any words in place of the masks."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.mask_predictions import MASK_PATTERN
from winnow.evaluation.probes.prompts import Cloze

MAX_WORDS_PER_MASK = 3
"""The maximum number of words that may replace a mask; texts with more words do not count as matches."""

_IGNORED_ENDINGS = " .!?"


def find_contaminated_prompts(texts: pa.ChunkedArray, clozes: Iterable[Cloze]) -> set[str]:
    """Return the titles of the prompts that match a training text with one to three words in place of the mask.

    Case, whitespace and final punctuation are ignored. All other prompts are held out: the training data does not
    contain their sentences.

    Args:
        texts: The training texts before filtering, so that the result is the same for all arms.
        clozes: The prompts to search for.

    >>> prompts = [Cloze(text, (), (), (), {}) for text in ("Nike is [MASK].", "we like [MASK] hats")]
    >>> find_contaminated_prompts(pa.chunked_array([["nike  is great", "we like hats"]]), prompts)
    {'Nike is [MASK].'}
    """
    normalized_texts = pc.utf8_rtrim(_normalize_texts(texts), characters=_IGNORED_ENDINGS)
    contaminated_titles = set()
    for cloze in clozes:
        prefix, *_, suffix = MASK_PATTERN.split(cloze.text)
        before, after = " ".join(prefix.lower().split()), " ".join(suffix.lower().split()).rstrip(_IGNORED_ENDINGS)
        candidates = normalized_texts.filter(
            pc.and_(pc.starts_with(normalized_texts, before), pc.ends_with(normalized_texts, after))
        )
        if any(_matches_prompt(text, before, after) for text in candidates.to_pylist()):
            contaminated_titles |= {cloze.title(mask) for mask in range(1, cloze.mask_count + 1)}
    return contaminated_titles


def _matches_prompt(text: str, before: str, after: str) -> bool:
    return 1 <= len(text[len(before) : len(text) - len(after)].split()) <= MAX_WORDS_PER_MASK


def _normalize_texts(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+", " "))
