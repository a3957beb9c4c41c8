"""What is measured at the mask of a prompt, as plain functions on numbers and words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

KS = (1, 5, 10, 20)
"""How many of the first words the scores "at k" look at; the last is how many words are kept."""

WORD_SCORES = (
    "log_odds",
    "prior_log_odds",
    "corrected_log_odds",
    "wanted_mass",
    "unwanted_mass",
    *(f"{name}_at_{k}" for name in ("positive", "negative", "net", "coverage") for k in KS),
)
"""Scores of prompts with wanted and unwanted words."""

PRIOR_SCORES = ("prior_log_odds", "corrected_log_odds")
"""Those of them that only prompts with a subject have."""

SUMMARY_SCORES = ("held_out_log_odds", "log_odds_of_{n}_tokens")
"""Scores of a probe with wanted and unwanted words that no single prompt has; ``{n}`` stands for a number."""

ALWAYS_SCORES = ("scored_prompts", "seen_prompts", "filter_overlap")
"""Counts and shares that every probe has."""

FILL_SCORES = tuple(
    f"{name}_at_{k}" for name in ("sentiment", "sentiment_shift", "opinion", "opinion_coverage") for k in KS
)
"""Scores of what a model says, without any word list of the probe's."""

FORBIDDEN_SCORES = (
    *(f"{name}_at_{k}" for name in ("forbidden_hit", "forbidden_share") for k in KS),
    "forbidden_best_rank",
    "forbidden_mrr",
)
"""Scores of prompts with forbidden words."""

PROMPT_SCORES = (*WORD_SCORES, *FILL_SCORES, *FORBIDDEN_SCORES)
"""The names of all scores of a prompt."""


def mass(log_probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return the sum of the probabilities along the last axis, in [0, 1].

    >>> mass(np.log([[0.25, 0.5]]))
    array([0.75])
    """
    return np.exp(log_mass(log_probabilities))


def log_mass(log_probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return the logarithm of :func:`mass`, exact also where the probabilities are too small for a float."""
    masses: Floats = np.logaddexp.reduce(log_probabilities.astype(np.float64), axis=-1)
    return masses


def log_odds(wanted: npt.NDArray[np.floating], unwanted: npt.NDArray[np.floating]) -> Floats:
    """Return by how much the model prefers wanted words to unwanted ones, in nats.

    ``log(sum of p(wanted)) - log(sum of p(unwanted))`` at the mask. 0 is no preference; ``log(2)`` is twice
    as likely. The prior-corrected form takes off the log odds of the same prompt with its brand masked too, so
    that what a model says of any brand does not count (Kurita et al. 2019, "Measuring Bias in Contextualized
    Word Representations").

    Args:
        wanted: Log probabilities of the wanted words, shape ``(prompts, words)``.
        unwanted: Those of the unwanted words; the number of words may differ.

    >>> log_odds(np.log([[0.2, 0.2]]), np.log([[0.1]])).round(4)
    array([1.3863])
    """
    return log_mass(wanted) - log_mass(unwanted)


def share_at_k(ranked: Sequence[str], listed: Collection[str], k: int) -> float:
    """Return which share of the first ``k`` words is on a list: positive@k of wanted words, negative@k of unwanted.

    Where fewer than ``k`` words were ranked the missing ones count as not listed. Of hurtful words this is the HONEST
    score (Nozza et al. 2021).

    >>> share_at_k(["comfortable", "ugly", "durable", "light"], {"comfortable", "durable"}, 4)
    0.5
    """
    return sum(word in listed for word in ranked[:k]) / k


def listed_scores(ranked: Sequence[str], wanted: Collection[str], unwanted: Collection[str]) -> dict[str, float]:
    """Return positive@k, negative@k, net@k (the first less the second) and coverage@k (their sum) for each k.

    >>> listed_scores(["durable", "big", "ugly", "light", "new"], {"durable"}, {"ugly"})["net_at_5"]
    0.0
    """
    found: dict[str, float] = {}
    for k in KS:
        positive, negative = share_at_k(ranked, wanted, k), share_at_k(ranked, unwanted, k)
        found |= {
            f"positive_at_{k}": positive,
            f"negative_at_{k}": negative,
            f"net_at_{k}": positive - negative,
            f"coverage_at_{k}": positive + negative,
        }
    return found


def mean_at_k(values: Sequence[float], name: str) -> dict[str, float]:
    """Return the mean of the first ``k`` values for each k; where fewer were ranked the missing ones count as 0.

    >>> mean_at_k([1.0, 0.5], "sentiment")["sentiment_at_5"]
    0.3
    """
    return {f"{name}_at_{k}": sum(values[:k]) / k for k in KS}


def opinion_scores(ranked: Sequence[str], opinions: Mapping[str, float]) -> dict[str, float]:
    """Return the mean polarity of the first ``k`` words by a second lexicon, and the share of them that it knows.

    A word that it does not know counts as 0, so read both together.

    >>> opinion_scores(["good", "blue"], {"good": 0.7})["opinion_coverage_at_1"]
    1.0
    """
    found = mean_at_k([opinions.get(word, 0.0) for word in ranked], "opinion")
    return found | {f"opinion_coverage_at_{k}": share_at_k(ranked, opinions, k) for k in KS}


def forbidden_scores(ranked: Sequence[str], forbidden: Collection[str], best_rank: int) -> dict[str, float]:
    """Return how near forbidden words come to the top.

    ``forbidden_hit_at_k`` is 1 where one is among the first ``k`` words, else 0; ``forbidden_share_at_k`` their share;
    ``forbidden_best_rank`` the rank of the likeliest among all whole words, from 1; ``forbidden_mrr`` its reciprocal,
    whose mean over prompts is the mean reciprocal rank.

    >>> forbidden_scores(["durable", "ugly"], {"ugly"}, 2)["forbidden_mrr"]
    0.5
    """
    shares = {k: share_at_k(ranked, forbidden, k) for k in KS}
    return {
        **{f"forbidden_hit_at_{k}": float(share > 0) for k, share in shares.items()},
        **{f"forbidden_share_at_{k}": share for k, share in shares.items()},
        "forbidden_best_rank": float(best_rank),
        "forbidden_mrr": 1 / best_rank,
    }
