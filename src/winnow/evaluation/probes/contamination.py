"""Which prompts the training data hold already, whatever stands at the mask."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluation.mask_predictions import MASK
from winnow.evaluation.probes.prompts import Cloze

MOST_WORDS = 3
"""Words that may stand in the place of a mask; a text that goes on longer is another sentence."""

_ENDS = " .!?"


def seen_prompts(texts: pa.ChunkedArray, clozes: Iterable[Cloze]) -> set[str]:
    """Return the titles of the prompts that a text spells out, but for at most three words at the masks.

    Case, blanks and the full stop do not matter. What is not seen is held out: the model must say it without having
    read it.

    Args:
        texts: The training texts before any filter, so that the answer is the same for every arm.
        clozes: The prompts.

    >>> asked = [Cloze(text, (), (), (), {}) for text in ("Nike is [MASK].", "we like [MASK] hats")]
    >>> seen_prompts(pa.chunked_array([["nike  is great", "we like hats"]]), asked)
    {'Nike is [MASK].'}
    """
    plain = pc.utf8_rtrim(_collapsed(texts), characters=_ENDS)
    found = set()
    for cloze in clozes:
        first, *_, last = MASK.split(cloze.text)
        before, after = " ".join(first.lower().split()), " ".join(last.lower().split()).rstrip(_ENDS)
        near = plain.filter(pc.and_(pc.starts_with(plain, before), pc.ends_with(plain, after)))
        if any(_fits(text, before, after) for text in near.to_pylist()):
            found |= {cloze.title(mask) for mask in range(1, cloze.masks + 1)}
    return found


def _fits(text: str, before: str, after: str) -> bool:
    return 1 <= len(text[len(before) : len(text) - len(after)].split()) <= MOST_WORDS


def _collapsed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.utf8_lower(texts), r"\s+", " "))
