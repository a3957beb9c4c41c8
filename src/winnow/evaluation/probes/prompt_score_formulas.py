"""Compute a prompt's scores from the probabilities and the ranking of words at its mask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

TOP_K_VALUES = (1, 5, 10, 20)
"""The values of k for scores such as ``net_at_5``. The last value is also the number of words stored per prompt."""

WORD_LIST_SCORES = (
    "log_odds",
    "prior_log_odds",
    "corrected_log_odds",
    "per_token_log_odds",
    "wanted_mass",
    "unwanted_mass",
    *(f"{name}_at_{k}" for name in ("positive", "negative", "net", "coverage") for k in TOP_K_VALUES),
)
"""Names of the scores of prompts with wanted and unwanted words."""

PRIOR_SCORES = ("prior_log_odds", "corrected_log_odds")
"""Names of the scores of prompts that have wanted words, unwanted words and a subject."""

SUMMARY_SCORES = ("held_out_log_odds", "log_odds_of_{n}_tokens")
"""Names of scores that exist only in a probe's summary; ``{n}`` is a placeholder for the number of tokens."""

COMMON_SCORES = ("scored_prompts", "seen_prompts", "filter_overlap")
"""Names of the counts and fractions that any probe can report, regardless of its word lists."""

FILL_SCORES = tuple(
    f"{name}_at_{k}" for name in ("sentiment", "sentiment_shift", "opinion", "opinion_coverage") for k in TOP_K_VALUES
)
"""Names of the scores that depend on the predicted words but not on the probe's word lists."""

FORBIDDEN_SCORES = (
    *(f"{name}_at_{k}" for name in ("forbidden_hit", "forbidden_share") for k in TOP_K_VALUES),
    "forbidden_best_rank",
    "forbidden_mrr",
)
"""Names of the scores of prompts with forbidden words."""

PROMPT_SCORES = (*WORD_LIST_SCORES, *FILL_SCORES, *FORBIDDEN_SCORES)
"""Names of all scores that a prompt can have."""


def probability_sum(log_probabilities: npt.NDArray[np.floating]) -> FloatArray:
    """Return the sum of probabilities along the last axis, in [0, 1].

    >>> probability_sum(np.log([[0.25, 0.5]]))
    array([0.75])
    """
    return np.exp(log_probability_sum(log_probabilities))


def log_probability_sum(log_probabilities: npt.NDArray[np.floating]) -> FloatArray:
    """Return the logarithm of :func:`probability_sum`, without underflow for tiny probabilities."""
    log_sums: FloatArray = np.logaddexp.reduce(log_probabilities.astype(np.float64), axis=-1)
    return log_sums


def log_odds(wanted: npt.NDArray[np.floating], unwanted: npt.NDArray[np.floating]) -> FloatArray:
    """Return the log odds of wanted versus unwanted words at the mask, in nats.

    ``log(sum of p(wanted)) - log(sum of p(unwanted))``: 0 means no preference, and ``log(2)`` means that the wanted
    words are twice as likely. The prior-corrected log odds subtract the log odds of the same prompt with its subject
    also masked, which removes preferences that do not depend on the subject (Kurita et al. 2019, "Measuring Bias in
    Contextualized Word Representations").

    Args:
        wanted: Log probabilities of the wanted words, shape ``(prompts, words)``.
        unwanted: Log probabilities of the unwanted words; the number of words may differ.

    >>> log_odds(np.log([[0.2, 0.2]]), np.log([[0.1]])).round(4)
    array([1.3863])
    """
    return log_probability_sum(wanted) - log_probability_sum(unwanted)


def precision_at_k(ranked_words: Sequence[str], word_list: Collection[str], k: int) -> float:
    """Return the fraction of the first ``k`` words that are in a list.

    The result is positive@k for a list of wanted words, negative@k for unwanted words, and the HONEST score for hurtful
    words (Nozza et al. 2021). If fewer than ``k`` words are ranked, the missing words count as not in the
    list.

    >>> precision_at_k(["comfortable", "ugly", "durable", "light"], {"comfortable", "durable"}, 4)
    0.5
    """
    return sum(word in word_list for word in ranked_words[:k]) / k


def word_list_scores(
    ranked_words: Sequence[str], wanted: Collection[str], unwanted: Collection[str]
) -> dict[str, float]:
    """Return positive@k, negative@k, net@k (their difference) and coverage@k (their sum) for each k.

    >>> word_list_scores(["durable", "big", "ugly", "light", "new"], {"durable"}, {"ugly"})["net_at_5"]
    0.0
    """
    scores: dict[str, float] = {}
    for k in TOP_K_VALUES:
        positive, negative = precision_at_k(ranked_words, wanted, k), precision_at_k(ranked_words, unwanted, k)
        scores |= {
            f"positive_at_{k}": positive,
            f"negative_at_{k}": negative,
            f"net_at_{k}": positive - negative,
            f"coverage_at_{k}": positive + negative,
        }
    return scores


def mean_at_k(values: Sequence[float], name: str) -> dict[str, float]:
    """Return the mean of the first k values for each k in :data:`TOP_K_VALUES`. Missing values count as 0.

    >>> mean_at_k([1.0, 0.5], "sentiment")["sentiment_at_5"]
    0.3
    """
    return {f"{name}_at_{k}": sum(values[:k]) / k for k in TOP_K_VALUES}


def opinion_scores(ranked_words: Sequence[str], polarities: Mapping[str, float]) -> dict[str, float]:
    """Return the mean opinion polarity of the first k words, and the lexicon coverage, for each k.

    The coverage is the fraction of the first k words that are in the opinion lexicon. All other words count as 0 in the
    mean, so the mean is meaningful only together with the coverage.

    >>> opinion_scores(["good", "blue"], {"good": 0.7})["opinion_coverage_at_1"]
    1.0
    """
    means = mean_at_k([polarities.get(word, 0.0) for word in ranked_words], "opinion")
    return means | {f"opinion_coverage_at_{k}": precision_at_k(ranked_words, polarities, k) for k in TOP_K_VALUES}


def forbidden_scores(ranked_words: Sequence[str], forbidden: Collection[str], best_rank: int) -> dict[str, float]:
    """Return scores that measure how highly forbidden words are ranked.

    ``forbidden_hit_at_k`` is 1 if a forbidden word is among the first k words, and 0 otherwise.
    ``forbidden_share_at_k`` is the fraction of the first k words that are forbidden. ``forbidden_best_rank`` is the
    rank of the most likely forbidden word among all whole words, from 1. ``forbidden_mrr`` is the reciprocal of this
    rank, so its mean across prompts is the mean reciprocal rank.

    >>> forbidden_scores(["durable", "ugly"], {"ugly"}, 2)["forbidden_mrr"]
    0.5
    """
    fractions = {k: precision_at_k(ranked_words, forbidden, k) for k in TOP_K_VALUES}
    return {
        **{f"forbidden_hit_at_{k}": float(fraction > 0) for k, fraction in fractions.items()},
        **{f"forbidden_share_at_{k}": fraction for k, fraction in fractions.items()},
        "forbidden_best_rank": float(best_rank),
        "forbidden_mrr": 1 / best_rank,
    }
