"""Which words a filter makes commoner and rarer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PRIOR_WORDS = 500.0
SHOWN = 20
ROWS = 200_000
"""Rows that are looked at; of more, as many evenly spread ones."""

_BATCH = 20_000
_JOINS = "'\N{RIGHT SINGLE QUOTATION MARK}-"
_BETWEEN = rf"[^\p{{L}}\p{{M}}\p{{N}}{_JOINS}]+"


def word_shift(texts: pa.ChunkedArray, kept: npt.NDArray[np.bool_], most: int = SHOWN) -> dict[str, Any]:
    """Return the words that tell kept texts from dropped ones.

    The measure is the log odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin'
    Words", Political Analysis 16, equations 15, 16, 19 and 22): for each word the difference of its log odds among
    kept and dropped words, with `PRIOR_WORDS` words spread as in all texts added to both, over the standard deviation
    of that difference. So a rare word needs more evidence than a frequent one.

    Args:
        texts: Texts.
        kept: Which of them are kept.
        most: Words to return for each side.

    Returns:
        ``rows`` looked at, and in ``kept`` and ``dropped`` the words that are commoner there, the clearest first, each
        with its ``z`` and how often it stands among 1,000 words of the ``kept`` and of the ``dropped`` texts.
    """
    if len(texts) > ROWS:
        places = np.linspace(0, len(texts) - 1, ROWS).astype(np.int64)
        texts, kept = texts.take(pa.array(places)), kept[places]
    one, other = count_words(texts.filter(pa.array(kept))), count_words(texts.filter(pa.array(~kept)))
    words = sorted(one | other)
    counts = np.array([[side[word] for word in words] for side in (one, other)], dtype=np.float64).reshape(2, -1)
    totals = counts.sum(axis=1, keepdims=True)
    found: dict[str, Any] = {"rows": len(texts), "kept": [], "dropped": []}
    if not totals.all():
        return found
    prior = PRIOR_WORDS * counts.sum(axis=0) / totals.sum()
    seen = counts + prior
    odds = np.log(seen) - np.log(totals + PRIOR_WORDS - seen)
    z = (odds[0] - odds[1]) / np.sqrt((1 / seen).sum(axis=0))
    order = np.argsort(-z, kind="stable")
    shares = 1000 * counts / totals
    for side, places, sign in (("kept", order, 1), ("dropped", order[::-1], -1)):
        found[side] = [
            {"word": words[i], "z": float(z[i]), "kept": float(shares[0, i]), "dropped": float(shares[1, i])}
            for i in places[:most]
            if sign * z[i] > 0
        ]
    return found


def count_words(texts: pa.ChunkedArray) -> Counter[str]:
    """Count the words of texts, in lower case; a word is a run of letters, digits, apostrophes and hyphens."""
    counts: Counter[str] = Counter()
    for first in range(0, len(texts), _BATCH):
        lower = pc.utf8_lower(texts.slice(first, _BATCH))
        words = pc.drop_null(pc.utf8_trim(pc.list_flatten(pc.split_pattern_regex(lower, _BETWEEN)), _JOINS))
        tally = pc.value_counts(words)
        values = tally.field("values").to_pylist()
        counts.update(dict(zip(values, tally.field("counts").to_pylist(), strict=True)))
    counts.pop("", None)
    return counts
