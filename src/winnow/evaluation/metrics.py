"""What is measured, as plain functions on numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

KS = (1, 5, 10, 20)
"""How many of the first words positive@k and negative@k look at; the last is how many words are kept."""

PROMPT_SCORES = (
    "log_odds",
    "wanted_mass",
    "unwanted_mass",
    *(f"positive_at_{k}" for k in KS),
    *(f"negative_at_{k}" for k in KS),
)
"""The names of the scores of a prompt."""


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
    as likely.

    Args:
        wanted: Log probabilities of the wanted words, shape ``(prompts, words)``.
        unwanted: Those of the unwanted words; the number of words may differ.

    >>> log_odds(np.log([[0.2, 0.2]]), np.log([[0.1]])).round(4)
    array([1.3863])
    """
    return log_mass(wanted) - log_mass(unwanted)


def share_at_k(ranked: Sequence[str], listed: Collection[str], k: int) -> float:
    """Return which share of the first ``k`` words is on a list: positive@k of wanted words, negative@k of unwanted.

    Where fewer than ``k`` words were ranked the missing ones count as not listed.

    >>> share_at_k(["comfortable", "ugly", "durable", "light"], {"comfortable", "durable"}, 4)
    0.5
    """
    return sum(word in listed for word in ranked[:k]) / k
