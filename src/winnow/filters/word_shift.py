"""Find the words that are more frequent in a filter's kept rows or in its dropped rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

PRIOR_WORD_COUNT = 500.0
MAX_WORDS = 20
MAX_ROWS = 200_000
"""The maximum number of rows in which words are counted; a larger corpus is sampled at even intervals."""

_BATCH_ROWS = 20_000
_WORD_PUNCTUATION = "'\N{RIGHT SINGLE QUOTATION MARK}-"
_WORD_SEPARATOR_PATTERN = rf"[^\p{{L}}\p{{M}}\p{{N}}{_WORD_PUNCTUATION}]+"


def compute_word_shift(texts: pa.ChunkedArray, kept: npt.NDArray[np.bool_], limit: int = MAX_WORDS) -> dict[str, Any]:
    """Return the words whose frequency differs most between kept and dropped texts.

    The measure is the log odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin'
    Words", Political Analysis 16, equations 15, 16, 19 and 22): the difference between a word's log odds in kept texts
    and in dropped texts, divided by the standard deviation of that difference. The prior adds `PRIOR_WORD_COUNT`
    pseudo-words to each of the two sets of texts, with the same word frequencies as in all texts. A rare word therefore
    needs more evidence than a frequent one.

    Args:
        texts: The texts.
        kept: The mask of kept texts.
        limit: The maximum number of words to return for each set of texts.

    Returns:
        ``rows``: the number of rows in which words were counted. ``kept`` and ``dropped``: the words that are more
        frequent in kept texts and in dropped texts, in descending order of evidence. Each word has its ``z`` score and
        its frequency per 1,000 words in ``kept`` and ``dropped`` texts.
    """
    if len(texts) > MAX_ROWS:
        sample = np.linspace(0, len(texts) - 1, MAX_ROWS).astype(np.int64)
        texts, kept = texts.take(pa.array(sample)), kept[sample]
    kept_counts, dropped_counts = count_words(texts.filter(pa.array(kept))), count_words(texts.filter(pa.array(~kept)))
    words = sorted(kept_counts | dropped_counts)
    counts = np.array(
        [[by_word[word] for word in words] for by_word in (kept_counts, dropped_counts)], dtype=np.float64
    )
    counts = counts.reshape(2, -1)
    totals = counts.sum(axis=1, keepdims=True)
    result: dict[str, Any] = {"rows": len(texts), "kept": [], "dropped": []}
    if not totals.all():
        return result
    prior = PRIOR_WORD_COUNT * counts.sum(axis=0) / totals.sum()
    smoothed = counts + prior
    log_odds = np.log(smoothed) - np.log(totals + PRIOR_WORD_COUNT - smoothed)
    z = (log_odds[0] - log_odds[1]) / np.sqrt((1 / smoothed).sum(axis=0))
    order = np.argsort(-z, kind="stable")
    frequencies = 1000 * counts / totals
    for name, indices, sign in (("kept", order, 1), ("dropped", order[::-1], -1)):
        result[name] = [
            {"word": words[i], "z": float(z[i]), "kept": float(frequencies[0, i]), "dropped": float(frequencies[1, i])}
            for i in indices[:limit]
            if sign * z[i] > 0
        ]
    return result


def count_words(texts: pa.ChunkedArray) -> Counter[str]:
    """Count the lower-cased words in texts; a word is a run of letters, digits, apostrophes and hyphens."""
    counts: Counter[str] = Counter()
    for offset in range(0, len(texts), _BATCH_ROWS):
        lower = pc.utf8_lower(texts.slice(offset, _BATCH_ROWS))
        words = pc.drop_null(
            pc.utf8_trim(pc.list_flatten(pc.split_pattern_regex(lower, _WORD_SEPARATOR_PATTERN)), _WORD_PUNCTUATION)
        )
        value_counts = pc.value_counts(words)
        values = value_counts.field("values").to_pylist()
        counts.update(dict(zip(values, value_counts.field("counts").to_pylist(), strict=True)))
    counts.pop("", None)
    return counts
