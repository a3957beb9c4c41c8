"""Select the rows with the highest scores, so that a filter keeps a given fraction of the training rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from winnow.errors import WinnowError, did_you_mean
from winnow.filters.decision_rule import DecisionRule
from winnow.filters.signals.signal import Signal

_TIE_STREAM: Final = 0x74696573  # the seed of the order of rows with equal scores

MAX_DEVIATION: Final = 0.05
"""The largest accepted difference between the requested fraction of rows and the fraction that the filter keeps."""


def check_fractions(fractions: Mapping[str, str], signals: Mapping[str, Signal], mode: str) -> None:
    """Check the fractions of rows that a filter is to keep.

    Raises:
        WinnowError: If there are several fractions, if the signal does not exist or has no ``at_least``, if a fraction
            is not between 0% and 100%, or if the mode is not ``full``.
    """
    if len(fractions) > 1:
        message = f"expected one signal, got {', '.join(fractions)}. Several thresholds cannot be computed together."
        raise WinnowError(message, "sweep")
    for name, text in fractions.items():
        if name not in signals:
            allowed = ", ".join(signals)
            raise WinnowError(f"unknown signal {name!r}.{did_you_mean(name, signals)} Allowed: {allowed}.", "sweep")
        if not hasattr(signals[name], "at_least"):
            ranked = [other for other, signal in signals.items() if hasattr(signal, "at_least")]
            message = (
                f"the signal has no score with a threshold (`at_least`), so its rows cannot be ranked. Allowed: "
                f"{', '.join(ranked) or 'none of the signals of this filter'}."
            )
            raise WinnowError(message, f"sweep.{name}")
        if not 0 < parse_fraction(text) < 1:
            message = f"expected a percentage between 0% and 100%, got {text!r}. Example: 30%."
            raise WinnowError(message, f"sweep.{name}")
        if mode != "full":
            message = "a fraction of rows requires the scores of all rows. Set mode=full."
            raise WinnowError(message, "mode")


def parse_fraction(text: str) -> float:
    """Return a percentage as a fraction; ``nan`` if the text is not a percentage.

    >>> parse_fraction("30%"), parse_fraction("0.3")
    (0.3, nan)
    """
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else math.nan
    except ValueError:
        return math.nan


def apply_fractions(
    rule: DecisionRule, fractions: Mapping[str, str], scores: Mapping[str, pa.Array], table: pa.Table
) -> tuple[dict[str, pa.Array], dict[str, float]]:
    """Return the verdicts with which the filter keeps the given fractions, and the thresholds of the scores, by signal.

    Rows are ranked by score. Rows with the same score are in a random order that depends only on the corpus, so a
    smaller fraction is always a subset of a larger one.

    Args:
        rule: The rule of the filter.
        fractions: The fraction of the training rows to keep, by signal, such as ``{"mood": "30%"}``.
        scores: The scores of all rows, by signal.
        table: The rows of the corpus.

    Raises:
        WinnowError: If the other signals drop too many rows.
    """
    verdicts, thresholds = dict[str, pa.Array](), dict[str, float]()
    is_train = pc.equal(table["split"], "train").to_numpy()
    for name, text in fractions.items():
        values = pc.fill_null(scores[name], math.nan).to_numpy(zero_copy_only=False)
        ranked = _rank_rows(values, table["row_id"].to_numpy())
        kept_fractions = compute_kept_fractions(rule, name, scores, ranked, is_train)
        best = int(np.abs(kept_fractions - parse_fraction(text)).argmin())
        if not len(ranked) or abs(kept_fractions[best] - parse_fraction(text)) > MAX_DEVIATION:
            raise WinnowError(_describe_attainable(kept_fractions, len(ranked), text), f"sweep.{name}")
        is_kept = np.zeros(len(values), dtype=bool)
        is_kept[ranked[:best]] = True
        verdicts[name] = pa.array(is_kept, mask=np.isnan(values))
        thresholds[name] = float(values[ranked[max(best - 1, 0)]])
    return verdicts, thresholds


def compute_kept_fractions(
    rule: DecisionRule,
    name: str,
    scores: Mapping[str, pa.Array],
    ranked: npt.NDArray[np.int64],
    is_train: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Return the fraction of the training rows that the filter keeps if a signal passes the first 0, 1, 2, ... rows.

    The filter is evaluated only twice: once with every row passing the signal, and once with every row failing it.
    """
    is_scored = pc.is_valid(scores[name])
    unscored = pc.if_else(is_scored, None, is_scored)
    if_passed = rule.keep_mask(scores, {name: pc.if_else(is_scored, True, unscored)}) & is_train
    if_failed = rule.keep_mask(scores, {name: pc.if_else(is_scored, False, unscored)}) & is_train
    changes = if_passed[ranked].astype(np.int64) - if_failed[ranked]
    fractions: npt.NDArray[np.float64] = (if_failed.sum() + np.concatenate(([0], np.cumsum(changes)))) / is_train.sum()
    return fractions


def _rank_rows(values: npt.NDArray[np.float64], row_ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the indices of the rows with a score, highest score first.

    The order of rows with equal scores must not depend on the row ids' values, because the ids determine the splits.
    """
    order = np.argsort(row_ids, kind="stable")[np.random.default_rng(_TIE_STREAM).permutation(len(row_ids))]
    order = order[np.argsort(-values[order], kind="stable")]
    ranked: npt.NDArray[np.int64] = order[~np.isnan(values[order])]
    return ranked


def _describe_attainable(kept_fractions: npt.NDArray[np.float64], ranked_count: int, text: str) -> str:
    if not ranked_count:
        return "the signal has no scores, so the rows cannot be ranked. Sweep another signal."
    low, high = kept_fractions.min(), kept_fractions.max()
    return (
        f"the filter cannot keep {text} of the training rows, because the other signals decide about most rows. "
        f"Choose a fraction between {low:.1%} and {high:.1%}."
    )
